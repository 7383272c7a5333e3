package path

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/ice/v2"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// Kind is how a path gets from one peer to the other. Both ends find the same.
type Kind string

// The kinds, best first. A path with a relay at either end is relayed, and as
// good as the worse of its allocations.
const (
	KindHost     Kind = "host"      // both sockets see each other's own address: LAN, IPv6, public hosts
	KindPunched  Kind = "punched"   // through at least one NAT
	KindRelayUDP Kind = "relay-udp" // through a relay
	KindRelayTCP Kind = "relay-tcp" // through a relay that at least one end reaches over TCP
	KindRelayTLS Kind = "relay-tls" // the same, over TLS
)

// Relayed reports whether a relay carries the packets.
func (k Kind) Relayed() bool { return k != KindHost && k != KindPunched }

// Result is a path that works in both directions.
type Result struct {
	Kind Kind
	// Remote is where to send to: an address of the peer or of its allocation.
	Remote *net.UDPAddr
	// Relayed is nil where packets go from the shared socket to Remote and
	// back. Otherwise our end is a TURN allocation and this is the conn over it;
	// it knows one remote address, RemoteAddr, and ends with the Attempt.
	Relayed    net.PacketConn
	RemoteAddr net.Addr
	// Local and RemoteString are the two ends for people: address and port, as
	// the other end sees them.
	Local, RemoteString string
	Relay               string // the TURN server of our own allocation, address and port
	Why                 string // for people: why no better kind of path; empty for KindHost
}

// result describes the pair that the agent has selected.
func (a *Attempt) result(conn *ice.Conn) (Result, error) {
	pair, err := a.agent.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return Result{}, fmt.Errorf("the selected pair: %w", noPair(err))
	}
	local, err := candidateAddr(pair.Local)
	if err != nil {
		return Result{}, err
	}
	remote, err := candidateAddr(pair.Remote)
	if err != nil {
		return Result{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	to := net.UDPAddrFromAddrPort(remote)
	r := Result{Remote: to, RemoteAddr: to, Local: local.String(), RemoteString: remote.String()}
	via := a.peerVia(remote)
	if pair.Local.Type() == ice.CandidateTypeRelay {
		alloc, err := a.ownAllocation(local)
		if err != nil {
			return Result{}, err
		}
		via = worse(via, alloc.via)
		r.Relay = alloc.server
		a.relayed = newRelayedConn(conn, net.UDPAddrFromAddrPort(local), to)
		if a.ctx.Err() != nil { // Close has not seen it
			a.relayed.end()
		}
		r.Relayed = a.relayed
	} else if seen := a.seenBy(remote); seen.IsValid() {
		local = seen
		r.Local = seen.String()
	}
	switch via {
	case "":
		r.Kind = KindPunched
		if a.isHost(local, remote) {
			r.Kind = KindHost
		}
	case call.ViaTCP:
		r.Kind = KindRelayTCP
	case call.ViaTLS:
		r.Kind = KindRelayTLS
	default:
		r.Kind = KindRelayUDP
	}
	r.Why = why(r.Kind, a.own, a.peer.NAT)
	return r, nil
}

// ownAllocation finds an allocation; the pair may be selected before it is
// reported. The caller holds mu.
func (a *Attempt) ownAllocation(at netip.AddrPort) (allocation, error) {
	if alloc, ok := a.allocs[at]; ok {
		return alloc, nil
	}
	locals, err := a.agent.GetLocalCandidates()
	if err != nil {
		return allocation{}, fmt.Errorf("the selected pair: %w", err)
	}
	for _, c := range locals {
		if r, ok := c.(*ice.CandidateRelay); ok {
			if here, alloc, err := a.allocated(r); err == nil && here == at {
				return alloc, nil
			}
		}
	}
	return allocation{}, fmt.Errorf("the selected pair: %w", errVanished)
}

// seenBy returns the socket's address as the remote end sees it.
func (a *Attempt) seenBy(remote netip.AddrPort) netip.AddrPort {
	if c := a.mux.find(muxKey{a.local.Ufrag, remote.Addr().Is6()}); c != nil {
		return c.seenBy(remote)
	}
	return netip.AddrPort{}
}

// isHost reports whether neither end's address was changed on the way. An
// address of the peer that it did not tell counts as its own if it is private
// and ours is too: it is a LAN's.
func (a *Attempt) isHost(local, remote netip.AddrPort) bool {
	c, told := a.remotes[remote]
	theirs := c.Type == call.HostCandidate || !told && remote.Addr().IsPrivate() && local.Addr().IsPrivate()
	return theirs && a.paths.isOwn(local)
}

// peerVia says how the peer reaches its relay, and nothing if the remote
// address is no relay's. A check may come from an allocation before word of it
// does; the address then gives it away, since peers use the same relays.
func (a *Attempt) peerVia(remote netip.AddrPort) call.Via {
	if c, ok := a.remotes[remote]; ok {
		return c.Via
	}
	for at, alloc := range a.allocs {
		if at.Addr() == remote.Addr() && !a.paths.isOwn(netip.AddrPortFrom(at.Addr(), a.paths.local.Port())) {
			if a.peer.NAT.UDPBlocked {
				return call.ViaTCP
			}
			return worse(call.ViaUDP, alloc.via)
		}
	}
	return ""
}

func worse(a, b call.Via) call.Via {
	for _, v := range []call.Via{call.ViaTLS, call.ViaTCP, call.ViaUDP} {
		if a == v || b == v {
			return v
		}
	}
	return ""
}

func candidateAddr(c ice.Candidate) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(c.Address())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("the selected pair: %w", err)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(c.Port())), nil
}
