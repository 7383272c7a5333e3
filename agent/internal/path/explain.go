package path

import (
	"errors"
	"fmt"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/call"
)

var (
	errTimeout = errors.New("no pair of addresses worked in time")
	errNoPair  = errors.New("the ICE agent has no selected pair")
)

// Error is the error of an attempt that found no path.
type Error struct {
	Own, Peer   call.NAT
	Allocations int // local TURN allocations
	Tried       int // addresses of the peer that were tried
	PeerRelays  int // the TURN allocations among them
	Cause       error
}

// Error returns a text for logs. [Error.Explain] returns one for people.
func (e *Error) Error() string {
	const text = "no path to the peer: %v (tried %d of its addresses, %d of them relayed, and %d own allocations)"
	return fmt.Sprintf(text, e.Cause, e.Tried, e.PeerRelays, e.Allocations)
}

// Unwrap returns the cause, such as the error of the context.
func (e *Error) Unwrap() error { return e.Cause }

// Explain returns a text for people: the reason and what to do about it.
func (e *Error) Explain() string {
	if e.Tried == 0 {
		return "No address of the other side arrived. Check that it is online and connected to the same rendezvous."
	}
	var b strings.Builder
	b.WriteString(obstacle(e.Own, e.Peer))
	if b.Len() == 0 {
		b.WriteString("No direct path between the two networks was found.")
	}
	switch {
	case e.Allocations == 0 && e.PeerRelays == 0:
		b.WriteString(" No relay could be reached from either side. Use a rendezvous that offers one, " +
			"or allow UDP or outgoing TCP to it.")
	case e.Allocations == 0:
		b.WriteString(" This machine could not reach a relay either. " +
			"Allow UDP or outgoing TCP to the rendezvous.")
	case e.PeerRelays == 0:
		b.WriteString(" The other side did not use the relay. " +
			"Check that it allows UDP or outgoing TCP to the rendezvous.")
	default:
		b.WriteString(" The relay did not carry packets between the two either. " +
			"The other side may have gone offline; otherwise the relay refuses it.")
	}
	return b.String()
}

// failure returns the error of the attempt.
func (a *Attempt) failure(peer call.NAT, cause error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := &Error{Own: a.own, Peer: peer, Allocations: len(a.allocs), Tried: len(a.remotes), Cause: cause}
	for _, c := range a.remotes {
		if c.Type == call.RelayCandidate {
			e.PeerRelays++
		}
	}
	return e
}

// why returns a text for people: the reason why no better kind of path was found.
func why(k Kind, own, peer call.NAT) string {
	switch {
	case k == KindHost:
		return ""
	case k == KindPunched:
		return "At least one side is behind a NAT; the path goes through it directly."
	}
	s := obstacle(own, peer)
	if s == "" {
		s = "No direct path was found within a second: " +
			"the NATs or firewalls of the two sides do not let each other's packets in."
	}
	if k == KindRelayTCP || k == KindRelayTLS {
		s += " The relay is reached over TCP, which is slower when packets are lost."
	}
	return s
}

// obstacle names the NAT that prevents a direct path. It returns "" if that is not
// known.
func obstacle(own, peer call.NAT) string {
	const openPort = "A forwarded port or IPv6 on either side gives a direct path."
	switch {
	case own.UDPBlocked && peer.UDPBlocked:
		return "Both networks block UDP, so only a relay can connect the two."
	case own.UDPBlocked:
		return "The network of this machine blocks UDP, so only a relay can connect the two. " +
			"Allowing outgoing UDP here gives a direct path."
	case peer.UDPBlocked:
		return "The network of the other side blocks UDP, so only a relay can connect the two. " +
			"Allowing outgoing UDP there gives a direct path."
	case noDirectPath(own, peer):
		return "Both NATs use another port for every destination, so packets cannot meet. " + openPort
	case own.Mapping == call.MappingDependent:
		return "The NAT of this machine uses another port for every destination, " +
			"and the one of the other side lets only known ports in. " + openPort
	case peer.Mapping == call.MappingDependent:
		return "The NAT of the other side uses another port for every destination, " +
			"and the one of this machine lets only known ports in. " + openPort
	}
	return ""
}
