package pairing

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/easyfind-usb/easyfind/agent/internal/pairing/cpace"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// change decodes a message, changes it and encodes it again.
func change[M interface{ check() error }](f func(*M)) func([]byte) []byte {
	return func(raw []byte) []byte {
		m, err := decode[M](raw)
		if err != nil {
			return raw
		}
		f(&m)
		if raw, err = json.Marshal(m); err != nil {
			panic(err)
		}
		return raw
	}
}

// TestHostileRendezvous: whatever it changes, neither end pairs with a key that
// is not the other's.
func TestHostileRendezvous(t *testing.T) {
	mallory, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	guess, err := cpace.New(cpace.Input{Password: []byte("0000-0000")}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var opened []byte
	for name, hostile := range map[string]func(*memory){
		"client's key swapped":   func(m *memory) { m.onTry = change(func(o *opening) { o.Key = mallory.Public() }) },
		"host's key swapped":     func(m *memory) { m.onAnswer = change(func(a *answer) { a.Key = mallory.Public() }) },
		"client's share swapped": func(m *memory) { m.onTry = change(func(o *opening) { o.Share = guess.Share() }) },
		"host's share swapped":   func(m *memory) { m.onAnswer = change(func(a *answer) { a.Share = guess.Share() }) },
		"host's share neutral":   func(m *memory) { m.onAnswer = change(func(a *answer) { clear(a.Share) }) },
		"client's share neutral": func(m *memory) { m.onTry = change(func(o *opening) { clear(o.Share) }) },
		"host's tag changed":     func(m *memory) { m.onAnswer = change(func(a *answer) { a.Tag[0] ^= 1 }) },
		"host's card changed":    func(m *memory) { m.onAnswer = change(func(a *answer) { a.Card[0] ^= 1 }) },
		"both keys swapped": func(m *memory) {
			m.onTry = change(func(o *opening) { o.Key = mallory.Public() })
			m.onAnswer = change(func(a *answer) { a.Key = mallory.Public() })
		},
		"opening sent back as answer": func(m *memory) {
			m.onTry = func(raw []byte) []byte { opened = raw; return raw }
			m.onAnswer = change(func(a *answer) {
				o, err := decode[opening](opened)
				if err != nil {
					t.Error(err)
				}
				a.Share, a.Key = o.Share, mallory.Public()
			})
		},
		"answer is rubbish":   func(m *memory) { m.onAnswer = func([]byte) []byte { return []byte("{}") } },
		"answer is too long":  func(m *memory) { m.onAnswer = func([]byte) []byte { return make([]byte, 1<<20) } },
		"opening is rubbish":  func(m *memory) { m.onTry = func([]byte) []byte { return []byte("null") } },
		"opening has a twin":  func(m *memory) { m.onTry = func(raw []byte) []byte { return append(raw, raw...) } },
		"opening of tomorrow": func(m *memory) { m.onTry = change(func(o *opening) { o.Version = 2 }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				hostile(m)
				w := offer(t, newPairing(t, "host", m))
				client := newPairing(t, "client", m)
				for range MaxTries {
					if got, err := client.Join(t.Context(), w.Address, w.PIN); err == nil {
						t.Fatalf("the client pairs with %+v", got)
					}
				}
				if got, err := w.result(); !errors.Is(err, ErrBurned) && !errors.Is(err, ErrExpired) {
					t.Errorf("the host: %+v, %v, want no pairing", got, err)
				}
			})
		})
	}
}

// TestConfirmationTamperedWith: the client has seen the real host by then; the
// host must still not take a client that is not proved.
func TestConfirmationTamperedWith(t *testing.T) {
	for name, f := range map[string]func([]byte) []byte{
		"tag changed":  change(func(c *confirmation) { c.Tag[0] ^= 1 }),
		"tag missing":  change(func(c *confirmation) { c.Tag = nil }),
		"card changed": change(func(c *confirmation) { c.Card[len(c.Card)-1] ^= 1 }),
		"card missing": change(func(c *confirmation) { c.Card = nil }),
		"rubbish":      func([]byte) []byte { return []byte(strings.Repeat("[", MaxMessage)) },
		"host's own":   func([]byte) []byte { return []byte(`{"tag":""}`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				m.onConfirm = f
				w := offer(t, newPairing(t, "host", m))
				client := newPairing(t, "client", m)
				for range MaxTries {
					if got, err := client.Join(t.Context(), w.Address, w.PIN); err != nil || got.Name != "host" {
						t.Fatalf("client: %+v, %v", got, err)
					}
				}
				if got, err := w.result(); !errors.Is(err, ErrBurned) {
					t.Errorf("host: %+v, %v, want %v", got, err, ErrBurned)
				}
			})
		})
	}
}

// TestAnswersExchangedBetweenTwoClients: an answer is good for its own try.
func TestAnswersExchangedBetweenTwoClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var first []byte
		m.onAnswer = func(raw []byte) []byte {
			if first == nil {
				first = raw
			}
			return first // everybody gets the first one's
		}
		m.onConfirm = func([]byte) []byte { return nil }
		w := offer(t, newPairing(t, "host", m))
		if _, err := newPairing(t, "one", m).Join(t.Context(), w.Address, w.PIN); err != nil {
			t.Errorf("the first: %v", err)
		}
		for range MaxTries - 1 {
			if _, err := newPairing(t, "two", m).Join(t.Context(), w.Address, w.PIN); !errors.Is(err, ErrWrongPIN) {
				t.Errorf("another: %v, want %v", err, ErrWrongPIN)
			}
		}
		if got, err := w.result(); !errors.Is(err, ErrBurned) {
			t.Errorf("host: %+v, %v, want %v", got, err, ErrBurned)
		}
	})
}

func FuzzMessages(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `{"version":1}`, `{"tag":"AA=="}`, `{"name":"x","addresses":["tls://a:1"]}`, `{"name":"\u001b"}`,
		`{"version":1,"share":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		again(t, raw, opening{})
		again(t, raw, answer{})
		again(t, raw, confirmation{})
		again(t, raw, card{})
	})
}

// again decodes, and what it decodes must survive encoding and decoding.
func again[M interface{ check() error }](t *testing.T, raw []byte, _ M) {
	m, err := decode[M](raw)
	if err != nil {
		return
	}
	encoded, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(encoded) > MaxMessage {
		return // text that JSON escapes, which no honest end sends
	}
	if _, err := decode[M](encoded); err != nil {
		t.Errorf("%s decodes, its encoding %s does not: %v", raw, encoded, err)
	}
}
