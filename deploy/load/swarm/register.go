package swarm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// PerConnection is the number of peers that register over one connection. It is what a
// rendezvous lets one source address register at once.
const PerConnection = 30

// maxConnections bounds the connections for one kind of request.
const maxConnections = 1024

// Register creates n peers and registers them over conns connections at a time. Each
// connection has its own source address and registers up to perConnection peers. The
// measured latency is that of the registration without the challenge before it. If the
// rendezvous asks to come back later, Register waits. It returns the registered peers also
// with an error.
func (s *Swarm) Register(ctx context.Context, n, conns, perConnection int) ([]*Peer, Rate, error) {
	var mu sync.Mutex
	var rate Rate
	peers := make([]*Peer, 0, n)
	began := time.Now()
	lots := (n + perConnection - 1) / perConnection
	err := each(ctx, lots, min(conns, maxConnections), func(ctx context.Context, lot int) error {
		count := min(perConnection, n-lot*perConnection)
		r, err := s.rest(ctx, s.source())
		if err != nil {
			return err
		}
		defer r.close()
		for i := range count {
			p, took, err := s.registerOne(ctx, r, lot*perConnection+i)
			if err != nil {
				return err
			}
			mu.Lock()
			peers, rate.Latency = append(peers, p), append(rate.Latency, took)
			mu.Unlock()
		}
		return nil
	})
	rate.Done, rate.Took = len(peers), time.Since(began)
	if err != nil {
		err = fmt.Errorf("%d of %d peers registered: %w", len(peers), n, err)
	}
	return peers, rate, err
}

func (s *Swarm) registerOne(ctx context.Context, r *rest, number int) (*Peer, time.Duration, error) {
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		return nil, 0, err
	}
	p := &Peer{ID: key.ID(), swarm: s, key: key, source: s.source(), only: anyHost}
	if s.resume {
		p.cache = newTicket()
	}
	var challenge api.Challenge
	err = retry(ctx, func() error { return r.call(ctx, http.MethodPost, api.PathChallenges, "", nil, &challenge) })
	if err != nil {
		return nil, 0, fmt.Errorf("take a challenge: %w", err)
	}
	registration := api.Registration{
		Challenge: challenge.Challenge, Name: fmt.Sprintf("load %d", number), Invite: s.join.Invite,
		Expires: challenge.Expires.Truncate(time.Second),
	}
	registration.Sign(key, r.exporter)
	var registered api.RegisterResult
	began := time.Now()
	err = retry(ctx, func() error {
		began = time.Now()
		return r.call(ctx, http.MethodPost, api.PathPeers, "", registration, &registered)
	})
	if err == nil && registered.ID != p.ID {
		err = errors.New("the rendezvous registered another peer")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("register: %w", err)
	}
	p.token = registered.Token
	return p, time.Since(began), nil
}

// Remove removes peers from the rendezvous, so that nothing of the load remains. It tries
// all of them. The error contains the number that could not be removed.
func (s *Swarm) Remove(ctx context.Context, peers []*Peer, conns int) error {
	left, last := s.requests(ctx, peers, conns, func(r *rest, p *Peer) error {
		return r.call(ctx, http.MethodDelete, api.PathSelf, p.token, nil, nil)
	})
	if left > 0 {
		return fmt.Errorf("%d of %d peers stay registered, an administrator can remove those named load: %w", left,
			len(peers), last)
	}
	return nil
}

// requests makes one request for each peer over conns connections. It returns the number of
// failed requests and the last error.
func (s *Swarm) requests(ctx context.Context, peers []*Peer, conns int,
	request func(r *rest, p *Peer) error,
) (failed int, last error) {
	conns = max(1, min(conns, maxConnections, len(peers)))
	var mu sync.Mutex
	ended := each(ctx, conns, conns, func(ctx context.Context, worker int) error {
		var r *rest
		defer func() {
			if r != nil {
				r.close()
			}
		}()
		for i := worker; i < len(peers); i += conns {
			err := retry(ctx, func() (err error) {
				if r == nil {
					if r, err = s.rest(ctx, s.source()); err != nil {
						return err
					}
				}
				return request(r, peers[i])
			})
			var p *api.Problem
			if r != nil && (err != nil && !errors.As(err, &p) || r.closing) {
				r.close()
				r = nil
			}
			if err != nil {
				mu.Lock()
				failed, last = failed+1, err
				mu.Unlock()
			}
		}
		return nil
	})
	if ended != nil && last == nil {
		last = ended
	}
	return failed, last
}
