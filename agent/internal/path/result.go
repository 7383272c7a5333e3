package path

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/ice/v2"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// Kind is the kind of a path. Both peers find the same kind.
type Kind string

// The kinds, best first. A path is relayed if either peer uses a relay. If both do,
// the worse allocation determines the kind.
const (
	KindHost     Kind = "host"      // no NAT between the sockets: LAN, IPv6, public hosts
	KindPunched  Kind = "punched"   // through at least one NAT
	KindRelayUDP Kind = "relay-udp" // through a relay
	KindRelayTCP Kind = "relay-tcp" // through a relay that at least one peer reaches over TCP
	KindRelayTLS Kind = "relay-tls" // through a relay that at least one peer reaches over TLS
)

// Relayed reports whether a relay carries the packets.
func (k Kind) Relayed() bool { return k != KindHost && k != KindPunched }

// Result is a path that works in both directions.
type Result struct {
	Kind Kind
	// Remote is the address to send to: the peer's, or that of its allocation.
	Remote *net.UDPAddr
	// Relayed is the connection over a local TURN allocation. It has one
	// remote address, RemoteAddr, and ends with the attempt. It is nil if packets
	// travel between the shared socket and Remote.
	Relayed    net.PacketConn
	RemoteAddr net.Addr
	// Local and RemoteString are the addresses of the two peers, for people:
	// address and port as the other peer sees them.
	Local, RemoteString string
	Relay               string // address and port of the TURN server of the local allocation
	Why                 string // for people: the reason for no better kind of path; empty for KindHost
}

// result returns the path of the pair that the ICE agent has selected.
func (a *Attempt) result(conn *ice.Conn) (Result, error) {
	pair, err := a.agent.GetSelectedCandidatePair()
	if err == nil && pair == nil {
		err = errNoPair
	}
	if err != nil {
		return Result{}, fmt.Errorf("the selected pair: %w", err)
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
		if a.ctx.Err() != nil { // Close did not find it
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

// ownAllocation returns the allocation with an address. The ICE agent may select a
// pair before it reports the candidate. mu must be held.
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
	return allocation{}, fmt.Errorf("the selected pair: %w", errNoPair)
}

// seenBy returns the socket's address as the remote side sees it.
func (a *Attempt) seenBy(remote netip.AddrPort) netip.AddrPort {
	if c := a.mux.find(muxKey{a.local.Ufrag, remote.Addr().Is6()}); c != nil {
		return c.seenBy(remote)
	}
	return netip.AddrPort{}
}

// isHost reports whether no NAT changed the addresses of the path. An unknown
// address of the peer counts as its own if both addresses are private, because the
// peers are then in one LAN.
func (a *Attempt) isHost(local, remote netip.AddrPort) bool {
	c, known := a.remotes[remote]
	theirs := c.Type == call.HostCandidate || !known && remote.Addr().IsPrivate() && local.Addr().IsPrivate()
	return theirs && a.paths.isOwn(local)
}

// peerVia returns the transport between the peer and its relay. It returns "" if the
// remote address is not that of a relay. A check may arrive from an allocation
// before the candidate does. Then the address of the relay identifies it, because
// both peers use the same relays.
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

// worse returns the worse of two transports to a relay. "" stands for no relay.
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
