package path

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/ice/v2"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// AddRemote adds a candidate of the peer, before Connect or while it runs. An
// address that must not be tried, or one above the bound, is refused with an
// error that wraps [ErrRefused]; the Attempt goes on without it.
func (a *Attempt) AddRemote(c call.Candidate) error {
	if err := c.Check(); err != nil {
		return err
	}
	addr, err := admit(c.Addr, a.paths.cfg.AllowLoopback)
	if err != nil {
		return err
	}
	c.Addr = addr
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ctx.Err() != nil:
		return errClosed
	case a.remotes[addr] == c:
		return nil
	case len(a.remotes) >= call.MaxRemote:
		return fmt.Errorf("%w: %v is one address too many, %d are tried", ErrRefused, addr, call.MaxRemote)
	}
	if _, known := a.remotes[addr]; known {
		return nil // the first word on an address stands
	}
	a.remotes[addr] = c
	if a.peer == nil {
		return nil // Connect adds it
	}
	if c.Type == call.ReflexiveCandidate && a.reflexiveAt.IsZero() {
		a.reflexiveAt = time.Now()
	}
	if wait := time.Until(a.reflexiveAt.Add(relayWait)); c.Type == call.RelayCandidate && wait > 0 && !a.onlyRelayed() {
		a.checkLater(c, wait)
		return nil
	}
	return a.check(c)
}

// checkLater holds a relay back when the direct address that it must not beat
// has come just now, long after the agent began to count its own wait. The
// caller holds mu.
func (a *Attempt) checkLater(c call.Candidate, wait time.Duration) {
	a.wg.Go(func() {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-a.ctx.Done():
		case <-t.C:
			a.mu.Lock()
			defer a.mu.Unlock()
			if err := a.check(c); err != nil {
				a.paths.log.Debug("candidate of the peer not used", "error", err)
			}
		}
	})
}

// check gives the agent a candidate to check. The caller holds mu.
func (a *Attempt) check(c call.Candidate) error {
	addr, port := c.Addr.Addr().String(), int(c.Addr.Port())
	var rc ice.Candidate
	var err error
	switch {
	case c.Type == call.HostCandidate:
		rc, err = ice.NewCandidateHost(&ice.CandidateHostConfig{Network: "udp", Address: addr, Port: port, Component: 1, Priority: c.Priority})
	case c.Type == call.RelayCandidate && !a.onlyRelayed():
		rc, err = ice.NewCandidateRelay(&ice.CandidateRelayConfig{Network: "udp", Address: addr, Port: port, Component: 1, Priority: c.Priority})
	default:
		// Where only a relay can do, the peer's is called reflexive, which the
		// agent accepts without its wait.
		rc, err = ice.NewCandidateServerReflexive(&ice.CandidateServerReflexiveConfig{Network: "udp", Address: addr, Port: port, Component: 1, Priority: c.Priority})
	}
	if err == nil {
		err = a.agent.AddRemoteCandidate(rc)
	}
	if err != nil {
		return fmt.Errorf("candidate %v: %w", c.Addr, err)
	}
	return nil
}

// onlyRelayed reports whether no direct path to the peer is possible. The
// caller holds mu and Connect has been called.
func (a *Attempt) onlyRelayed() bool {
	return neverMeet(a.own, a.peer.NAT) && !(hasIPv6(a.local.Hosts) && hasIPv6(a.peer.Hosts))
}

func hasIPv6(hosts []netip.AddrPort) bool {
	return slices.ContainsFunc(hosts, func(h netip.AddrPort) bool { return h.Addr().Is6() && !h.Addr().IsLoopback() })
}

// neverMeet reports whether no direct path through the two NATs is possible.
func neverMeet(own, peer call.NAT) bool {
	both := own.Mapping == call.MappingDependent && peer.Mapping == call.MappingDependent
	return own.UDPBlocked || peer.UDPBlocked || both && own.Public.Addr() != peer.Public.Addr()
}
