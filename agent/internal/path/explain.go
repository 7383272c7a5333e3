package path

import (
	"errors"
	"fmt"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/call"
)

var (
	errTimeout  = errors.New("no pair of addresses worked in time")
	errVanished = errors.New("it vanished")
)

func noPair(err error) error {
	if err == nil {
		return errVanished
	}
	return err
}

// Error says why an Attempt found no path.
type Error struct {
	Own, Peer   call.NAT
	Allocations int // of our own, at relays
	Told        int // addresses of the peer that were tried
	PeerRelays  int // of these, allocations
	Cause       error
}

// Error is for logs; see [Error.Explain].
func (e *Error) Error() string {
	return fmt.Sprintf("no path to the peer: %v (%d of its addresses tried, %d of them relayed, %d relays of our own)",
		e.Cause, e.Told, e.PeerRelays, e.Allocations)
}

// Unwrap returns the cause: the context's error, [ErrWire], or another.
func (e *Error) Unwrap() error { return e.Cause }

// Explain is a sentence or two for a person: why, and what to do.
func (e *Error) Explain() string {
	if e.Told == 0 {
		return "No address of the other side arrived. Check that it is online and connected to the same rendezvous."
	}
	var b strings.Builder
	b.WriteString(obstacle(e.Own, e.Peer))
	if b.Len() == 0 {
		b.WriteString("No direct path between the two networks was found.")
	}
	switch {
	case e.Allocations == 0 && e.PeerRelays == 0:
		b.WriteString(" No relay could be reached from either side. Use a rendezvous that offers one, or allow UDP or outgoing TCP to it.")
	case e.Allocations == 0:
		b.WriteString(" This machine could not reach a relay either. Allow UDP or outgoing TCP to the rendezvous.")
	case e.PeerRelays == 0:
		b.WriteString(" The other side did not use the relay. Check that it allows UDP or outgoing TCP to the rendezvous.")
	default:
		b.WriteString(" The relay did not carry packets between the two either. The other side may have gone offline; otherwise the relay refuses it.")
	}
	return b.String()
}

// failure makes the error of an Attempt.
func (a *Attempt) failure(peer call.NAT, cause error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := &Error{Own: a.own, Peer: peer, Allocations: len(a.allocs), Told: len(a.remotes), Cause: cause}
	for _, c := range a.remotes {
		if c.Type == call.RelayCandidate {
			e.PeerRelays++
		}
	}
	return e
}

// why says what stands in the way of a better kind of path.
func why(k Kind, own, peer call.NAT) string {
	switch {
	case k == KindHost:
		return ""
	case k == KindPunched:
		return "At least one side is behind a NAT; the path goes through it directly."
	}
	s := obstacle(own, peer)
	if s == "" {
		s = "No direct path was found within a second: the NATs or firewalls of the two sides do not let each other's packets in."
	}
	if k == KindRelayTCP || k == KindRelayTLS {
		s += " The relay is reached over TCP, which is slower when packets are lost."
	}
	return s
}

// obstacle says which of two NATs prevents a direct path, if that is known.
func obstacle(own, peer call.NAT) string {
	switch {
	case own.UDPBlocked && peer.UDPBlocked:
		return "Both networks block UDP, so only a relay can connect the two."
	case own.UDPBlocked:
		return "The network of this machine blocks UDP, so only a relay can connect the two. Allowing outgoing UDP here gives a direct path."
	case peer.UDPBlocked:
		return "The network of the other side blocks UDP, so only a relay can connect the two. Allowing outgoing UDP there gives a direct path."
	case neverMeet(own, peer):
		return "Both NATs use another port for every destination, so packets cannot meet. A forwarded port or IPv6 on either side gives a direct path."
	case own.Mapping == call.MappingDependent:
		return "The NAT of this machine uses another port for every destination, and the one of the other side lets only known ports in. A forwarded port or IPv6 on either side gives a direct path."
	case peer.Mapping == call.MappingDependent:
		return "The NAT of the other side uses another port for every destination, and the one of this machine lets only known ports in. A forwarded port or IPv6 on either side gives a direct path."
	}
	return ""
}
