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

// At counts the connected peers by the index of their host.
func (s *Swarm) At() map[int]int {
	at := map[int]int{}
	for _, p := range s.taken() {
		if p.connected.Load() > p.lost.Load() {
			at[int(p.host.Load())]++
		}
	}
	return at
}

// Return is the result of Await: peers that lost their connections and came back.
type Return struct {
	Lost int       `json:"lost"`
	Back Latencies `json:"back"` // from the event to the new Welcome, for peers that came back
	Gaps Latencies `json:"gaps"` // from the loss of the last connection to the new Welcome
}

// Await waits after an event that cut connections. It returns when all peers that lost their
// connection since then have been back for quiet, or when ctx ends.
func (s *Swarm) Await(ctx context.Context, since time.Time, quiet time.Duration) Return {
	event := int64(since.Sub(s.began))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var whole time.Time // since when no peer is missing; zero while one is
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

// Handshakes is the result of Handshake.
type Handshakes struct {
	Rate
	Resumed int `json:"resumed"`
}

// Handshake opens TLS connections up to the rendezvous's Challenge and closes them, with
// workers at a time, until the given time has passed. With resume each worker tries to
// resume the TLS session of its previous connection.
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
	// TLS tickets, if any, arrive before the Challenge.
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

// Get returns the session. The server's name does not matter: there is one rendezvous.
func (t *ticket) Get(string) (*tls.ClientSessionState, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state, t.state != nil
}

// Put stores a session, or removes one that was refused.
func (t *ticket) Put(_ string, state *tls.ClientSessionState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = state
}
