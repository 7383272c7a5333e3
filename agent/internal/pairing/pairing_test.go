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

func newPairing(t *testing.T, name string, m Mailbox) *Pairing {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{
		Key: key, Name: name, Mailbox: m,
		Addresses: func() []string { return []string{"tls://" + name + ":7574"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// waiting is an offer whose Wait runs.
type waiting struct {
	*Offer
	left chan int // one for every failed try
	done chan struct{}
	peer Peer  // once done
	err  error // once done
}

func offer(t *testing.T, host *Pairing) *waiting {
	t.Helper()
	o, err := host.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &waiting{Offer: o, left: make(chan int, MaxTries), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.peer, w.err = o.Wait(t.Context(), func(left int) { w.left <- left })
	}()
	return w
}

func (w *waiting) result() (Peer, error) {
	<-w.done
	return w.peer, w.err
}

// wrong is a PIN that is not pin.
func wrong(pin ident.PIN) ident.PIN {
	last := byte('0' + (pin[len(pin)-1]-'0'+1)%10)
	return pin[:len(pin)-1] + ident.PIN(last)
}

func TestPairing(t *testing.T) {
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
				t.Errorf("the other end knows %s as %+v", c.name, c.got)
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
				t.Errorf("the host says %d left, want %d", got, left)
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

func TestRightPINOnTheLastTry(t *testing.T) {
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

// TestGuesserWhoDoesNotConfirm: a guesser learns from the answer whether the
// guess was right, so that silence must not save a try.
func TestGuesserWhoDoesNotConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.maxTries = 10_000 // the rendezvous is on the guesser's side
		m.onConfirm = func([]byte) []byte { return nil }
		w := offer(t, newPairing(t, "host", m))
		guesser := newPairing(t, "guesser", m)
		begun := time.Now()
		for range MaxTries {
			if _, err := guesser.Join(t.Context(), w.Address, wrong(w.PIN)); !errors.Is(err, ErrWrongPIN) {
				t.Fatal(err)
			}
		}
		if _, err := w.result(); !errors.Is(err, ErrBurned) || time.Since(begun) > 2*confirmTime {
			t.Errorf("host: %v after %v, want %v within %v", err, time.Since(begun), ErrBurned, 2*confirmTime)
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
		first, err := encode(opening{Version: version, Share: run.Share(), Key: guesser.cfg.Key.Public()})
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

func TestClientsAtTheSameTime(t *testing.T) {
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
			// One whose answer came after the pairing finds no mailbox.
			if err := <-results; !errors.Is(err, ErrWrongPIN) && !errors.Is(err, ErrUnknownAddress) {
				t.Errorf("wrong PIN: %v", err)
			}
		}
	})
}

func TestReasonsForNoPairing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		host, client := newPairing(t, "host", m), newPairing(t, "client", m)

		w := offer(t, host)
		if _, err := host.Join(t.Context(), w.Address, w.PIN); !errors.Is(err, ErrSelf) {
			t.Errorf("own address: %v, want %v", err, ErrSelf)
		}
		if err := sleep(t.Context(), Lifetime+time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := w.result(); !errors.Is(err, ErrExpired) {
			t.Errorf("host after its time: %v, want %v", err, ErrExpired)
		}

		quiet, err := host.Offer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Join(t.Context(), quiet.Address, quiet.PIN); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("silent host: %v, want %v", err, ErrNoAnswer)
		}
		cause := errors.New("the person gave up")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := quiet.Wait(ctx, nil); !errors.Is(err, cause) {
			t.Errorf("cancelled wait: %v, want %v", err, cause)
		}
		if len(m.boxes) != 0 {
			t.Error("a mailbox stays open after Wait")
		}
		if _, err := client.Join(t.Context(), "ABC-DEF", "1234-5678"); !errors.Is(err, ErrUnknownAddress) {
			t.Errorf("unknown address: %v, want %v", err, ErrUnknownAddress)
		}
	})
}

func TestOfferSurvivesARendezvousThatIsAwayForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := offer(t, newPairing(t, "host", m))
		client := newPairing(t, "client", m)
		away := errors.New("connection refused")
		m.setDown(away)
		if _, err := client.Join(t.Context(), w.Address, w.PIN); !errors.Is(err, away) {
			t.Errorf("client meanwhile: %v, want %v", err, away)
		}
		if err := sleep(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		m.setDown(nil)
		if _, err := client.Join(t.Context(), w.Address, w.PIN); err != nil {
			t.Errorf("client afterwards: %v", err)
		}
		if got, err := w.result(); err != nil || got.ID != client.cfg.Key.ID() {
			t.Errorf("host: %+v, %v", got, err)
		}
	})
}

func TestNamesAndConfigurationsThatAreRefused(t *testing.T) {
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{
		{Key: key, Name: "x"},
		{Key: key, Mailbox: newMemory()},
		{Key: key, Mailbox: newMemory(), Name: strings.Repeat("x", MaxName+1)},
		{Key: key, Mailbox: newMemory(), Name: "\x1b[2J"},
		{Key: key, Mailbox: newMemory(), Name: "a\xff"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
