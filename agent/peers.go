package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/peer"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/using"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// peers runs one peer.Peer for each peer that the agent is paired with. It is
// sharing.Peers.
type peers struct {
	agent *Agent

	mu     sync.Mutex
	ctx    context.Context // of run; nil before
	all    map[ident.PeerID]*running
	joined sync.WaitGroup
}

// running is a peer and how to end it.
type running struct {
	*peer.Peer
	id     ident.PeerID
	cancel context.CancelFunc
}

// run keeps the peers that reconcile names until ctx ends.
func (p *peers) run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()
	p.reconcile(p.agent.store.State().Peers)
	<-ctx.Done()
	p.mu.Lock()
	for _, r := range p.all {
		r.cancel()
	}
	p.mu.Unlock()
	p.joined.Wait()
	return nil
}

// reconcile begins peers that are new and ends those that are forgotten.
func (p *peers) reconcile(paired []state.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx == nil || p.ctx.Err() != nil {
		return
	}
	forgotten := map[ident.PeerID]bool{}
	for id := range p.all {
		forgotten[id] = true
	}
	for _, s := range paired {
		delete(forgotten, s.ID)
		if p.all[s.ID] == nil {
			p.begin(s)
		}
	}
	for id := range forgotten {
		p.all[id].cancel()
		delete(p.all, id)
	}
}

// begin runs a peer. Mu is held.
func (p *peers) begin(s state.Peer) {
	a := p.agent
	made, err := peer.New(peer.Config{
		Peer: s.ID, Network: a.network.forPeers(), Budget: a.cfg.Budget, Host: a.sharing.For(s.ID),
		Addresses: func() []string {
			now := a.store.State()
			known, _ := now.Peer(s.ID)
			return known.Addresses
		},
		Logger: a.log, Changed: a.pokePaths, News: func() { a.using.News(s.ID) },
	})
	if err != nil {
		a.log.Error("peer", "name", s.Name, "err", err)
		return
	}
	r := &running{Peer: made, id: s.ID}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(p.ctx)
	p.all[s.ID] = r
	p.joined.Go(func() {
		if err := made.Run(ctx); err != nil {
			a.log.Error("peer", "name", s.Name, "err", err)
		}
	})
}

func (p *peers) get(id ident.PeerID) *running {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[id]
}

func (p *peers) list() []*running {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*running, 0, len(p.all))
	for _, r := range p.all {
		list = append(list, r)
	}
	return list
}

// message hands on what the rendezvous brings. Peers that are not paired are
// not listened to.
func (p *peers) message(from ident.PeerID, body []byte) {
	if r := p.get(from); r != nil {
		r.Message(body)
	}
}

// accept hands on a link that a peer has dialed.
func (p *peers) accept(l link.Link) {
	if r := p.get(l.Info().Peer); r != nil {
		r.Accept(l)
		return
	}
	l.Close("not paired")
}

func (p *peers) retry() {
	for _, r := range p.list() {
		r.Retry()
	}
}

// devicesChanged sends every peer its list anew.
func (p *peers) devicesChanged() {
	for _, r := range p.list() {
		r.Session().DevicesChanged()
	}
}

// want gives the session with a peer and keeps it linked until release.
func (p *peers) want(id ident.PeerID) (using.Session, func(), error) {
	r := p.get(id)
	if r == nil {
		return nil, nil, fmt.Errorf("%w: %s", state.ErrUnknownPeer, id.Short())
	}
	return r.Session(), r.Want(), nil
}

// Name implements sharing.Peers.
func (p *peers) Name(id ident.PeerID) string {
	s := p.agent.store.State()
	if known, ok := s.Peer(id); ok {
		return known.Name
	}
	return id.Short()
}

// Lost implements sharing.Peers.
func (p *peers) Lost(id ident.PeerID, device string) (since time.Time, lost bool) {
	r := p.get(id)
	if r == nil {
		return time.Time{}, true
	}
	linked, since, holds := r.Session().Holds(device)
	return since, holds && !linked
}

// Revoke implements sharing.Peers.
func (p *peers) Revoke(id ident.PeerID, device, reason string) {
	if r := p.get(id); r != nil {
		r.Session().Revoke(func(d string) bool { return d == device }, reason)
	}
}
