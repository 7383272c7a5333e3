package swarm

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

// At counts the connected peers by the index of the host they are connected to.
func (s *Swarm) At() map[int]int {
	at := map[int]int{}
	for _, p := range s.taken() {
		if p.connected.Load() > p.lost.Load() {
			at[int(p.host.Load())]++
		}
	}
	return at
}

// Return is how peers came back that had lost their connections.
type Return struct {
	Lost int       `json:"lost"`
	Back Latencies `json:"back"` // from the event to the new Welcome, of those that came back
	Gaps Latencies `json:"gaps"` // from the loss of the last connection to that
}

// Await waits, after an event that cost peers their connections, until all who
// lost theirs since are back, and have been for quiet, or ctx ends.
func (s *Swarm) Await(ctx context.Context, since time.Time, quiet time.Duration) Return {
	event := int64(since.Sub(s.began))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var whole time.Time // since when nobody is missing; zero while somebody is
	for {
		var r Return
		for _, p := range s.taken() {
			lost, connected := p.lost.Load(), p.connected.Load()
			if lost < event {
				continue
			}
			r.Lost++
			if connected > lost {
				r.Back = append(r.Back, time.Duration(connected-event))
				r.Gaps = append(r.Gaps, time.Duration(connected-lost))
			}
		}
		switch {
		case r.Lost == 0 || len(r.Back) < r.Lost:
			whole = time.Time{}
		case whole.IsZero():
			whole = time.Now()
		}
		if !whole.IsZero() && time.Since(whole) >= quiet {
			return r
		}
		select {
		case <-ctx.Done():
			return r
		case <-tick.C:
		}
	}
}

// Handshakes is how many TLS connections were made.
type Handshakes struct {
	Rate
	Resumed int `json:"resumed"`
}

// Handshake makes TLS connections up to the rendezvous's Challenge and ends them
// again, so many at a time, for a while. With resume each worker resumes the
// session of its connection before, where the rendezvous lets it.
func (s *Swarm) Handshake(ctx context.Context, workers int, during time.Duration, resume bool) (Handshakes, error) {
	var mu sync.Mutex
	var h Handshakes
	var resumed atomic.Int64
	began := time.Now()
	err := each(ctx, workers, workers, func(ctx context.Context, _ int) error {
		var cache tls.ClientSessionCache
		if resume {
			cache = newTicket()
		}
		var took Latencies
		for time.Since(began) < during && ctx.Err() == nil {
			at := time.Now()
			again, err := s.handshake(ctx, cache)
			if err != nil {
				return err
			}
			if took = append(took, time.Since(at)); again {
				resumed.Add(1)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		h.Latency = append(h.Latency, took...)
		return nil
	})
	h.Done, h.Took, h.Resumed = len(h.Latency), time.Since(began), int(resumed.Load())
	return h, err
}

func (s *Swarm) handshake(ctx context.Context, cache tls.ClientSessionCache) (resumed bool, err error) {
	conn, _, err := s.dial(ctx, s.source(), anyHost, signal.ALPN, cache)
	if err != nil {
		return false, err
	}
	defer conn.NetConn().Close()
	conn.SetDeadline(time.Now().Add(dialTimeout))
	// The tickets, if any, come before.
	if _, err := signal.NewReader(conn).FromRendezvous(); err != nil {
		return false, fmt.Errorf("greeting of the rendezvous: %w", err)
	}
	return conn.ConnectionState().DidResume, nil
}

// ticket holds the last TLS session of one peer.
type ticket struct {
	mu    sync.Mutex
	state *tls.ClientSessionState
}

func newTicket() *ticket { return &ticket{} }

// Get returns the session; whose it is does not matter, there is one rendezvous.
func (t *ticket) Get(string) (*tls.ClientSessionState, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state, t.state != nil
}

// Put keeps a session, or forgets the one that was refused.
func (t *ticket) Put(_ string, state *tls.ClientSessionState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = state
}
