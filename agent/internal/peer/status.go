package peer

import (
	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
)

// Status is what a peer's life is like now.
type Status struct {
	Session session.Status
	Calling bool // a call is under way
	Wanted  bool // something needs the session
	// Why says why no better path is used, or none at all. Empty if there is
	// nothing to say.
	Why string
}

// Status returns what is known now.
func (p *Peer) Status() Status {
	st := Status{Session: p.session.Status()}
	rank, linked := active(st.Session)
	p.mu.Lock()
	defer p.mu.Unlock()
	st.Wanted, st.Calling = p.wants > 0, p.calling
	switch {
	case !linked:
		st.Why = p.problem
	case rank == link.RankHost:
	case p.cfg.Network.Paths.NAT().UDPBlocked: // which may have become known after the path was found
		st.Why = p.cfg.Network.Paths.NAT().Explain()
	case p.why != "" && rank != link.RankTLS && rank != link.RankPlainTCP:
		st.Why = p.why
	case p.cfg.Network.Signal == nil:
		st.Why = "no rendezvous is set, so that only the addresses given for this peer are tried"
	case p.ladder != nil:
		st.Why = p.ladder.Why(rank)
	}
	return st
}

// active is the rank of the link that carries the session.
func active(s session.Status) (rank link.Rank, linked bool) {
	for _, l := range s.Links {
		if l.Active {
			return l.Path.Rank, true
		}
	}
	return 0, false
}
