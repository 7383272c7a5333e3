package certs

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

// Each period, counted from 1970, has its own key of session tickets. A ticket is
// accepted until the end of the last of ticketsKept further periods. The key of the
// next period is also accepted, because the clock of another instance may be ahead.
const (
	ticketPeriod = 12 * time.Hour
	ticketsKept  = 3 // periods before the current one
)

// tickets derives the keys of session tickets from a secret that all instances
// share. Instances therefore have the same keys without exchanging them, and a
// client whose instance has stopped resumes its TLS session at another.
//
// An attacker with the secret can read tickets, and can impersonate the server to
// a client that presents one. It cannot decrypt recorded connections, because TLS
// 1.3 adds fresh keys to each resumption. For the same reason a resumption saves the
// server at most a fifth: 255 µs of processor time instead of 306, on two busy
// cores (BenchmarkHandshake).
type tickets struct {
	// Static.
	secret []byte
	now    func() time.Time

	// Guarded by mu.
	mu      sync.Mutex
	period  int64
	current *tls.Config // nil before the first use
}

// keys returns a configuration that holds nothing but the current keys.
func (t *tickets) keys() *tls.Config {
	period := t.now().Unix() / int64(ticketPeriod/time.Second)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil || t.period != period {
		all := [][32]byte{t.key(period), t.key(period + 1)}
		for back := range int64(ticketsKept) {
			all = append(all, t.key(period-1-back))
		}
		t.period, t.current = period, &tls.Config{}
		t.current.SetSessionTicketKeys(all) // the first encrypts
	}
	return t.current
}

// key derives the key of one period.
func (t *tickets) key(period int64) (key [32]byte) {
	raw, err := hkdf.Key(sha256.New, t.secret, nil, fmt.Sprintf("easyfind session tickets %d", period), len(key))
	if err != nil {
		panic("session tickets: " + err.Error()) // only for keys longer than 255 hashes
	}
	copy(key[:], raw)
	return key
}
