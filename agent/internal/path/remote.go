package path

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/ice/v2"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// AddRemote adds a candidate of the peer, before or during Connect. Its error wraps
// [ErrRefused] if the address is not allowed or exceeds the bound
// [call.MaxRemote]. The attempt goes on without that candidate.
func (a *Attempt) AddRemote(c call.Candidate) error {
	if err := c.Check(); err != nil {
		return err
	}
	addr, err := checkAddr(c.Addr, a.paths.cfg.AllowLoopback)
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
		return fmt.Errorf("%w: %v exceeds the bound of %d addresses", ErrRefused, addr, call.MaxRemote)
	}
	if _, known := a.remotes[addr]; known {
		return nil // the first candidate with an address counts
	}
	a.remotes[addr] = c
	if a.peer == nil {
		return nil // Connect adds it
	}
	if c.Type == call.ReflexiveCandidate && a.reflexiveAt.IsZero() {
		a.reflexiveAt = time.Now()
	}
	wait := time.Until(a.reflexiveAt.Add(relayDelay))
	if c.Type == call.RelayCandidate && wait > 0 && !a.onlyRelayed() {
		a.checkLater(c, wait)
		return nil
	}
	return a.check(c)
}

// checkLater calls check after a time. It delays a relayed candidate when a direct
// address of the peer has just arrived. The ICE agent's own delay does not suffice
// then, because it began with Connect. mu must be held.
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
				a.paths.log.Debug("cannot use a candidate of the peer", "err", err)
			}
		}
	})
}

// check passes a candidate to the ICE agent, which checks it. mu must be held.
func (a *Attempt) check(c call.Candidate) error {
	addr, port := c.Addr.Addr().String(), int(c.Addr.Port())
	var rc ice.Candidate
	var err error
	switch {
	case c.Type == call.HostCandidate:
		rc, err = ice.NewCandidateHost(&ice.CandidateHostConfig{
			Network: "udp", Address: addr, Port: port, Component: 1, Priority: c.Priority,
		})
	case c.Type == call.RelayCandidate && !a.onlyRelayed():
		rc, err = ice.NewCandidateRelay(&ice.CandidateRelayConfig{
			Network: "udp", Address: addr, Port: port, Component: 1, Priority: c.Priority,
		})
	default:
		// If only a relay can work, the peer's relayed candidate is added as a
		// reflexive one, which the ICE agent selects without delay.
		rc, err = ice.NewCandidateServerReflexive(&ice.CandidateServerReflexiveConfig{
			Network: "udp", Address: addr, Port: port, Component: 1, Priority: c.Priority,
		})
	}
	if err == nil {
		err = a.agent.AddRemoteCandidate(rc)
	}
	if err != nil {
		return fmt.Errorf("candidate %v: %w", c.Addr, err)
	}
	return nil
}

// onlyRelayed reports whether no direct path to the peer is possible. mu must be
// held, and Connect must have set peer.
func (a *Attempt) onlyRelayed() bool {
	return noDirectPath(a.own, a.peer.NAT) && !(hasIPv6(a.local.Hosts) && hasIPv6(a.peer.Hosts))
}

func hasIPv6(hosts []netip.AddrPort) bool {
	return slices.ContainsFunc(hosts, func(h netip.AddrPort) bool { return h.Addr().Is6() && !h.Addr().IsLoopback() })
}

// noDirectPath reports whether no direct path through the two NATs is possible.
func noDirectPath(own, peer call.NAT) bool {
	both := own.Mapping == call.MappingDependent && peer.Mapping == call.MappingDependent
	return own.UDPBlocked || peer.UDPBlocked || both && own.Public.Addr() != peer.Public.Addr()
}
