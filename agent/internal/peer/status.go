package peer

import (
	"errors"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	wire "github.com/easyfind-usb/easyfind/proto/call"
)

// Status describes the session with a peer and the attempts to get a link.
type Status struct {
	Session session.Status
	Calling bool // a call is in progress
	Wanted  bool // see Peer.Want
	// Reason explains why no link is up, or why the link is not a better one. It is
	// empty if there is nothing to explain.
	Reason string
}

// outcome holds the results of calls.
type outcome struct {
	mu      sync.Mutex // guards the fields below
	calling bool
	failure string       // of the last call; empty if it succeeded
	path    string       // why ICE found no better path, from the last call that found one
	ladder  *link.Ladder // of the last call that this agent began, upgrades excepted
}

func (o *outcome) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calling = true
}

func (o *outcome) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calling, o.failure = false, ""
	if err != nil {
		o.failure = explain(err)
	}
}

func (o *outcome) setLadder(l *link.Ladder) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ladder = l
}

func (o *outcome) setPath(r path.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.path = r.Why
}

func (o *outcome) isCalling() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calling
}

// reason returns Status.Reason for a peer with that active link.
func (o *outcome) reason(active session.LinkStatus, up, signalled bool, nat wire.NAT) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	rank := active.Path.Rank
	switch {
	case !up:
		return o.failure
	case rank == link.RankHost:
		return ""
	case nat.UDPBlocked: // may have been found after the path
		return nat.Explain()
	case o.path != "" && rank != link.RankTLS && rank != link.RankPlainTCP:
		return o.path
	case !signalled:
		return "no rendezvous is set, so that only the addresses given for this peer are tried"
	case o.ladder != nil:
		return o.ladder.Why(rank)
	}
	return ""
}

// explain returns the sentence for a person that an error provides, or its text.
func explain(err error) string {
	if e, ok := errors.AsType[interface {
		error
		Explain() string
	}](err); ok {
		return e.Explain()
	}
	return err.Error()
}

// Status returns the current status.
func (p *Peer) Status() Status {
	return Status{
		Session: p.session.Status(), Calling: p.calls.outcome.isCalling(), Wanted: p.wanted(), Reason: p.Reason(),
	}
}

// Reason returns Status.Reason.
func (p *Peer) Reason() string {
	if choice := p.session.Choice(); choice != "" {
		return choice
	}
	active, up := p.session.ActiveLink()
	return p.calls.outcome.reason(active, up, p.calls.signal.available(), p.cfg.Network.Paths.NAT())
}
