package pairing

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPairing(t *testing.T, name string, m *memoryMailboxes) *Pairing {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{
		Key: key, Name: name, HostMailbox: m, ClientMailbox: m,
		Addresses: func() []string { return []string{"tls://" + name + ":7574"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// hostOffer is an offer whose Wait runs in a goroutine.
type hostOffer struct {
	*Offer
	left chan int      // receives the number of remaining tries after each failed try
	done chan struct{} // closed when Wait has returned
	peer Peer          // valid after done
	err  error         // valid after done
}

func offer(t *testing.T, host *Pairing) *hostOffer {
	t.Helper()
	o, err := host.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &hostOffer{Offer: o, left: make(chan int, MaxTries), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.peer, w.err = o.Wait(t.Context(), func(left int) { w.left <- left })
	}()
	return w
}

func (w *hostOffer) result() (Peer, error) {
	<-w.done
	return w.peer, w.err
}

// wrong returns a PIN other than pin.
func wrong(pin ident.PIN) ident.PIN {
	last := byte('0' + (pin[len(pin)-1]-'0'+1)%10)
	return pin[:len(pin)-1] + ident.PIN(last)
}

func TestBothPeersLearnEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		host, client := newPairing(t, "workshop", m), newPairing(t, "laptop", m)
		w := offer(t, host)
		atClient, err := client.Join(t.Context(), w.Address, w.PIN)
		if err != nil {
			t.Fatal(err)
		}
		atHost, err := w.result()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			got  Peer
			of   *Pairing
			name string
		}{{atClient, host, "workshop"}, {atHost, client, "laptop"}} {
			if c.got.ID != c.of.cfg.Key.ID() || !c.got.PublicKey.Equal(c.of.cfg.Key.Public()) || c.got.Name != c.name ||
				!slices.Equal(c.got.Addresses, []string{"tls://" + c.name + ":7574"}) {
				t.Errorf("the other peer knows %s as %+v", c.name, c.got)
			}
		}
		if _, err := client.Join(t.Context(), w.Address, w.PIN); !errors.Is(err, ErrUnknownAddress) {
			t.Errorf("the address used twice: %v, want %v", err, ErrUnknownAddress)
		}
	})
}

func TestThreeWrongPINsBurnTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := offer(t, newPairing(t, "host", m))
		for left := MaxTries - 1; left >= 0; left-- {
			_, err := newPairing(t, "guesser", m).Join(t.Context(), w.Address, wrong(w.PIN))
			var wrongPIN WrongPINError
			if !errors.As(err, &wrongPIN) || wrongPIN.Left != left || !errors.Is(err, ErrWrongPIN) {
				t.Fatalf("%v, want a wrong PIN with %d tries left", err, left)
			}
			if got := <-w.left; got != left {
				t.Errorf("the host reports %d tries left, want %d", got, left)
			}
		}
		if _, err := w.result(); !errors.Is(err, ErrBurned) {
			t.Errorf("host: %v, want %v", err, ErrBurned)
		}
		if _, err := newPairing(t, "late", m).Join(t.Context(), w.Address, w.PIN); !errors.Is(err, ErrUnknownAddress) {
			t.Errorf("the right PIN afterwards: %v, want %v", err, ErrUnknownAddress)
		}
	})
}

func TestRightPINOnLastTrySucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := offer(t, newPairing(t, "host", m))
		client := newPairing(t, "client", m)
		for range MaxTries - 1 {
			if _, err := client.Join(t.Context(), w.Address, wrong(w.PIN)); !errors.Is(err, ErrWrongPIN) {
				t.Fatal(err)
			}
		}
		if _, err := client.Join(t.Context(), w.Address, w.PIN); err != nil {
			t.Fatal(err)
		}
		if got, err := w.result(); err != nil || got.ID != client.cfg.Key.ID() {
			t.Errorf("host: %+v, %v", got, err)
		}
	})
}

// TestUnconfirmedGuessesCount has a guesser who never sends a confirmation. The
// answer already shows whether a guess was right, so each guess must count.
func TestUnconfirmedGuessesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.maxTries = 10_000 // the rendezvous helps the guesser
		m.onConfirm = func([]byte) []byte { return nil }
		w := offer(t, newPairing(t, "host", m))
		guesser := newPairing(t, "guesser", m)
		begun := time.Now()
		for range MaxTries {
			if _, err := guesser.Join(t.Context(), w.Address, wrong(w.PIN)); !errors.Is(err, ErrWrongPIN) {
				t.Fatal(err)
			}
		}
		if _, err := w.result(); !errors.Is(err, ErrBurned) || time.Since(begun) > 2*confirmTimeout {
			t.Errorf("host: %v after %v, want %v within %v", err, time.Since(begun), ErrBurned, 2*confirmTimeout)
		}
	})
}

func TestTenThousandGuessesGetThreeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.maxTries = 10_000
		host, guesser := newPairing(t, "host", m), newPairing(t, "guesser", m)
		o, err := host.Offer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		run, err := start(rand.Reader, o.Address, wrong(o.PIN))
		if err != nil {
			t.Fatal(err)
		}
		first, err := encode(openingMessage{Version: version, Share: run.Share(), Key: guesser.cfg.Key.Public()})
		if err != nil {
			t.Fatal(err)
		}
		for range 10_000 {
			if _, err := m.Try(t.Context(), o.Address, first); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.Wait(t.Context(), nil); !errors.Is(err, ErrBurned) {
			t.Errorf("host: %v, want %v", err, ErrBurned)
		}
		if m.answered != MaxTries {
			t.Errorf("%d answers, want %d", m.answered, MaxTries)
		}
	})
}

func TestConcurrentClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := offer(t, newPairing(t, "host", m))
		right := newPairing(t, "right", m)
		results := make(chan error, MaxTries-1)
		for range MaxTries - 1 {
			go func() {
				_, err := newPairing(t, "guesser", m).Join(t.Context(), w.Address, wrong(w.PIN))
				results <- err
			}()
		}
		if _, err := right.Join(t.Context(), w.Address, w.PIN); err != nil {
			t.Errorf("right PIN: %v", err)
		}
		if got, err := w.result(); err != nil || got.ID != right.cfg.Key.ID() {
			t.Errorf("host: %+v, %v", got, err)
		}
		for range MaxTries - 1 {
			// The mailbox may be closed before a guesser has its answer.
			if err := <-results; !errors.Is(err, ErrWrongPIN) && !errors.Is(err, ErrUnknownAddress) {
				t.Errorf("wrong PIN: %v", err)
			}
		}
	})
}

func TestFailuresHaveReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		host, client := newPairing(t, "host", m), newPairing(t, "client", m)

		w := offer(t, host)
		if _, err := host.Join(t.Context(), w.Address, w.PIN); !errors.Is(err, ErrSelf) {
			t.Errorf("own address: %v, want %v", err, ErrSelf)
		}
		time.Sleep(Lifetime + time.Second)
		if _, err := w.result(); !errors.Is(err, ErrExpired) {
			t.Errorf("host after the lifetime: %v, want %v", err, ErrExpired)
		}

		quiet, err := host.Offer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Join(t.Context(), quiet.Address, quiet.PIN); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("silent host: %v, want %v", err, ErrNoAnswer)
		}
		cause := errors.New("cancelled by the person")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := quiet.Wait(ctx, nil); !errors.Is(err, cause) {
			t.Errorf("cancelled wait: %v, want %v", err, cause)
		}
		if len(m.boxes) != 0 {
			t.Error("a mailbox is open after Wait")
		}
		if _, err := client.Join(t.Context(), "ABC-DEF", "1234-5678"); !errors.Is(err, ErrUnknownAddress) {
			t.Errorf("unknown address: %v, want %v", err, ErrUnknownAddress)
		}
	})
}

func TestOfferSurvivesRendezvousOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := offer(t, newPairing(t, "host", m))
		client := newPairing(t, "client", m)
		outage := errors.New("connection refused")
		m.setDown(outage)
		if _, err := client.Join(t.Context(), w.Address, w.PIN); !errors.Is(err, outage) {
			t.Errorf("client during the outage: %v, want %v", err, outage)
		}
		time.Sleep(time.Minute)
		m.setDown(nil)
		if _, err := client.Join(t.Context(), w.Address, w.PIN); err != nil {
			t.Errorf("client after the outage: %v", err)
		}
		if got, err := w.result(); err != nil || got.ID != client.cfg.Key.ID() {
			t.Errorf("host: %+v, %v", got, err)
		}
	})
}

func TestInvalidConfigurationsAreRefused(t *testing.T) {
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	for _, cfg := range []Config{
		{Key: key, Name: "x"},
		{Key: key, Name: "x", HostMailbox: m},
		{Key: key, HostMailbox: m, ClientMailbox: m},
		{Key: key, HostMailbox: m, ClientMailbox: m, Name: strings.Repeat("x", MaxName+1)},
		{Key: key, HostMailbox: m, ClientMailbox: m, Name: "\x1b[2J"},
		{Key: key, HostMailbox: m, ClientMailbox: m, Name: "a\xff"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
