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

// change returns a hook that decodes a message, changes it by f and encodes it.
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

// TestHostileRendezvous changes openings and answers. Neither peer may pair.
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
	openings := func(f func(*openingMessage)) hooks { return hooks{onTry: change(f)} }
	answers := func(f func(*answerMessage)) hooks { return hooks{onAnswer: change(f)} }
	for name, h := range map[string]hooks{
		"client's key replaced":   openings(func(o *openingMessage) { o.Key = mallory.Public() }),
		"host's key replaced":     answers(func(a *answerMessage) { a.Key = mallory.Public() }),
		"client's share replaced": openings(func(o *openingMessage) { o.Share = guess.Share() }),
		"host's share replaced":   answers(func(a *answerMessage) { a.Share = guess.Share() }),
		"host's share neutral":    answers(func(a *answerMessage) { clear(a.Share) }),
		"client's share neutral":  openings(func(o *openingMessage) { clear(o.Share) }),
		"host's tag changed":      answers(func(a *answerMessage) { a.Tag[0] ^= 1 }),
		"host's card changed":     answers(func(a *answerMessage) { a.Card[0] ^= 1 }),
		"both keys replaced": {
			onTry:    change(func(o *openingMessage) { o.Key = mallory.Public() }),
			onAnswer: change(func(a *answerMessage) { a.Key = mallory.Public() }),
		},
		"opening sent back as answer": {
			onTry: func(raw []byte) []byte { opened = raw; return raw },
			onAnswer: change(func(a *answerMessage) {
				o, err := decode[openingMessage](opened)
				if err != nil {
					t.Error(err)
				}
				a.Share, a.Key = o.Share, mallory.Public()
			}),
		},
		"empty answer":     {onAnswer: func([]byte) []byte { return []byte("{}") }},
		"long answer":      {onAnswer: func([]byte) []byte { return make([]byte, 1<<20) }},
		"null opening":     {onTry: func([]byte) []byte { return []byte("null") }},
		"repeated opening": {onTry: func(raw []byte) []byte { return append(raw, raw...) }},
		"newer version":    openings(func(o *openingMessage) { o.Version = 2 }),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				m.hooks = h
				w := offer(t, newPairing(t, "host", m))
				client := newPairing(t, "client", m)
				for range MaxTries {
					if got, err := client.Join(t.Context(), w.Address, w.PIN); err == nil {
						t.Fatalf("the client paired with %+v", got)
					}
				}
				if got, err := w.result(); !errors.Is(err, ErrBurned) && !errors.Is(err, ErrExpired) {
					t.Errorf("the host: %+v, %v, want no pairing", got, err)
				}
			})
		})
	}
}

// TestHostRefusesChangedConfirmation changes confirmations. The client has
// authenticated the host before, but the host must not accept the client.
func TestHostRefusesChangedConfirmation(t *testing.T) {
	for name, f := range map[string]func([]byte) []byte{
		"tag changed":  change(func(c *confirmationMessage) { c.Tag[0] ^= 1 }),
		"tag missing":  change(func(c *confirmationMessage) { c.Tag = nil }),
		"card changed": change(func(c *confirmationMessage) { c.Card[len(c.Card)-1] ^= 1 }),
		"card missing": change(func(c *confirmationMessage) { c.Card = nil }),
		"not JSON":     func([]byte) []byte { return []byte(strings.Repeat("[", MaxMessage)) },
		"empty tag":    func([]byte) []byte { return []byte(`{"tag":""}`) },
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

// TestAnswerOfAnotherTryIsRefused gives the answer to the first try to all other
// clients.
func TestAnswerOfAnotherTryIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var first []byte
		m.onAnswer = func(raw []byte) []byte {
			if first == nil {
				first = raw
			}
			return first
		}
		m.onConfirm = func([]byte) []byte { return nil }
		w := offer(t, newPairing(t, "host", m))
		if _, err := newPairing(t, "one", m).Join(t.Context(), w.Address, w.PIN); err != nil {
			t.Errorf("first client: %v", err)
		}
		for range MaxTries - 1 {
			if _, err := newPairing(t, "two", m).Join(t.Context(), w.Address, w.PIN); !errors.Is(err, ErrWrongPIN) {
				t.Errorf("another client: %v, want %v", err, ErrWrongPIN)
			}
		}
		if got, err := w.result(); !errors.Is(err, ErrBurned) {
			t.Errorf("host: %+v, %v, want %v", got, err, ErrBurned)
		}
	})
}

func FuzzMessages(f *testing.F) {
	zeros := strings.Repeat("A", 43) + "=" // 32 bytes in base64
	for _, seed := range []string{
		``, `null`, `{}`, `{"version":1}`, `{"tag":"AA=="}`,
		`{"name":"x","addresses":["tls://a:1"]}`, `{"name":"\u001b"}`,
		`{"version":1,"share":"` + zeros + `","key":"` + zeros + `"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		roundTrip(t, raw, openingMessage{})
		roundTrip(t, raw, answerMessage{})
		roundTrip(t, raw, confirmationMessage{})
		roundTrip(t, raw, card{})
	})
}

// roundTrip decodes raw. If that succeeds, the encoded message must decode too.
func roundTrip[M interface{ check() error }](t *testing.T, raw []byte, _ M) {
	m, err := decode[M](raw)
	if err != nil {
		return
	}
	encoded, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(encoded) > MaxMessage {
		return // JSON escapes have made it longer; no honest peer sends such text
	}
	if _, err := decode[M](encoded); err != nil {
		t.Errorf("%s can be decoded, but its encoding %s cannot: %v", raw, encoded, err)
	}
}
