package rvclient

import (
	"context"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// settle is how long links may change before the rendezvous is told what has
// become of it.
const settle = time.Second

// Path is what the link to a peer is like, as far as the rendezvous is told.
type Path struct {
	Kind      signal.LinkKind
	Transport signal.Transport
	RTT       time.Duration // 0 if not measured
}

// paths is what the rendezvous shall know of this agent's links.
type paths struct {
	changed chan struct{} // holds one

	// Guarded by mu.
	mu  sync.Mutex
	now map[ident.PeerID]Path
}

func newPaths() *paths { return &paths{changed: make(chan struct{}, 1)} }

// TellPaths says what the links to all peers are like now; who is not in it has
// none. What has changed is told to the rendezvous, now or once it is reached,
// if it wants to know. It does not block. The map is the client's from now on.
func (c *Client) TellPaths(now map[ident.PeerID]Path) {
	c.paths.mu.Lock()
	c.paths.now = now
	c.paths.mu.Unlock()
	c.paths.poke()
}

func (p *paths) poke() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// news returns what a rendezvous that was told some is to be told now, and notes
// it. A round trip alone is no news.
func (p *paths) news(told map[ident.PeerID]Path) []signal.LinkReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []signal.LinkReport
	for id, now := range p.now {
		if before := told[id]; before.Kind != now.Kind || before.Transport != now.Transport {
			told[id] = now
			all = append(all, signal.LinkReport{Peer: id, Kind: now.Kind, Transport: now.Transport, RTT: now.RTT})
		}
	}
	for id := range told {
		if _, still := p.now[id]; !still {
			delete(told, id)
			all = append(all, signal.LinkReport{Peer: id})
		}
	}
	return all
}

// tell tells the rendezvous at the other end of a connection, if it takes that,
// until ctx ends or the connection cannot be written to.
func (p *paths) tell(ctx context.Context, c *connection) error {
	if err := c.write(signal.Ping{Token: signal.AskFeatures}); err != nil {
		return err
	}
	select {
	case offered := <-c.features:
		if offered&signal.FeatureLinkReports == 0 {
			return nil
		}
	case <-ctx.Done(): // one of the first version does not say
		return nil
	}
	p.poke() // a connection begins with everything
	told := map[ident.PeerID]Path{}
	for {
		select {
		case <-p.changed:
		case <-ctx.Done():
			return nil
		}
		timer := time.NewTimer(settle)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		for _, m := range p.news(told) {
			if err := c.write(m); err != nil {
				return err
			}
		}
	}
}
