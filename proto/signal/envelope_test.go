package signal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

func newKey(t testing.TB, seed byte) ident.Key {
	t.Helper()
	k, err := ident.KeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEnvelopeOpensForItsReceiverOnly(t *testing.T) {
	alice, bob, eve := newKey(t, 1), newKey(t, 2), newKey(t, 3)
	now := time.Now()
	raw, err := Seal(alice, bob.ID(), []byte("offer"), now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(raw, alice.ID(), bob.ID(), now.Add(EnvelopeFresh-time.Second))
	if err != nil || string(e.Body) != "offer" || e.From != alice.ID() {
		t.Fatalf("open: %+v, %v", e, err)
	}
	if _, err := Open(raw, alice.ID(), eve.ID(), now); !errors.Is(err, ErrEnvelopeSignature) {
		t.Errorf("redirected to another peer: %v", err)
	}
	if _, err := Open(raw, eve.ID(), bob.ID(), now); !errors.Is(err, ErrEnvelopeSignature) {
		t.Errorf("said to come from another peer: %v", err)
	}
	for _, late := range []time.Duration{EnvelopeFresh + time.Second, -EnvelopeFresh - time.Second, 1 << 62} {
		if _, err := Open(raw, alice.ID(), bob.ID(), now.Add(late)); !errors.Is(err, ErrEnvelopeStale) {
			t.Errorf("opened %s later: %v", late, err)
		}
	}
}

func TestEnvelopeWithAnyByteChangedIsRefused(t *testing.T) {
	alice, bob := newKey(t, 1), newKey(t, 2)
	now := time.Now()
	raw, err := Seal(alice, bob.ID(), []byte("x"), now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 0x10
		if _, err := Open(changed, alice.ID(), bob.ID(), now); !errors.Is(err, ErrEnvelopeSignature) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

func TestEnvelopeBodyIsBounded(t *testing.T) {
	alice, bob := newKey(t, 1), newKey(t, 2)
	raw, err := Seal(alice, bob.ID(), make([]byte, MaxEnvelopeBody), time.Now(), rand.Reader)
	if err != nil || len(raw) > MaxBody {
		t.Errorf("the largest envelope has %d bytes, %v", len(raw), err)
	}
	long := make([]byte, MaxEnvelopeBody+1)
	if _, err := Seal(alice, bob.ID(), long, time.Now(), rand.Reader); !errors.Is(err, ErrEnvelopeSize) {
		t.Errorf("one byte too many: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	alice, bob := newKey(f, 1), newKey(f, 2)
	now := time.UnixMilli(1_700_000_000_000)
	raw, err := Seal(alice, bob.ID(), []byte("offer"), now, bytes.NewReader(make([]byte, 16)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, got []byte) {
		if _, err := Open(got, alice.ID(), bob.ID(), now); err == nil && !bytes.Equal(got, raw) {
			t.Errorf("a forged envelope opened: %x", got)
		}
	})
}
