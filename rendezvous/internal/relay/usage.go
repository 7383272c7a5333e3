package relay

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// maxAccounts is how many peers' figures are kept of those that have no
// allocation now. Beyond it, those go whose last allocation ended longest ago;
// the totals keep them.
const maxAccounts = 4096

// Flow is how much was relayed. Bytes are those of the relayed packets
// themselves, without any header.
type Flow struct {
	Packets uint64
	Bytes   uint64
}

// Traffic is what was relayed, in both directions, and what was not.
type Traffic struct {
	FromClients Flow // from TURN clients to whom they relay to
	ToClients   Flow // to TURN clients, over whatever they are connected by
	Dropped     Flow // in both directions, because it may not be relayed: no permission
	Limited     Flow // in both directions, beyond the peer's rate or that of all
}

// Usage is what the relay has done since it was made.
type Usage struct {
	Traffic
	Allocations int    // now
	Allocated   uint64 // allocations ever made
	Refused     uint64 // allocations that were not made: a quota, or no port was free
	Streams     int    // TCP and TLS clients connected now
	Unanswered  uint64 // answers withheld from strangers who asked too often
	Peers       []PeerUsage
}

// PeerUsage is the part of one peer.
type PeerUsage struct {
	Traffic
	Peer        ident.PeerID
	Allocations int // now
}

// Usage returns the totals, and of each peer that has an allocation or had one
// lately, ordered by ID. The figures of one moment may differ by the packets
// that were under way.
func (r *Relay) Usage() Usage {
	u := r.table.usage()
	u.Unanswered = r.answers.withheld.Load()
	r.mu.Lock()
	u.Streams = len(r.conns)
	r.mu.Unlock()
	return u
}

// counters are a Traffic that goroutines add to.
type counters struct{ from, to, dropped, limited flow }

func fromClients(c *counters) *flow { return &c.from }
func toClients(c *counters) *flow   { return &c.to }
func dropped(c *counters) *flow     { return &c.dropped }
func limited(c *counters) *flow     { return &c.limited }

type flow struct{ packets, bytes atomic.Uint64 }

func (f *flow) add(bytes int) {
	f.packets.Add(1)
	f.bytes.Add(uint64(bytes))
}

func (f *flow) read() Flow { return Flow{Packets: f.packets.Load(), Bytes: f.bytes.Load()} }

func (c *counters) read() Traffic {
	return Traffic{FromClients: c.from.read(), ToClients: c.to.read(), Dropped: c.dropped.read(), Limited: c.limited.read()}
}

// account is what one peer has, and what it has used.
type account struct {
	peer   ident.PeerID
	used   counters
	budget budget

	// Guarded by the table's mu.
	conns []*relayConn
	ended int64 // unix milliseconds: when the last of conns went
}

// usage reads every account.
func (t *allocations) usage() Usage {
	t.mu.Lock()
	u := Usage{Allocations: len(t.ports), Allocated: t.made, Refused: t.refused, Peers: make([]PeerUsage, 0, len(t.accounts))}
	for id, a := range t.accounts {
		u.Peers = append(u.Peers, PeerUsage{Traffic: a.used.read(), Peer: id, Allocations: len(a.conns)})
	}
	t.mu.Unlock()
	u.Traffic = t.total.read()
	slices.SortFunc(u.Peers, func(a, b PeerUsage) int { return bytes.Compare(a.Peer[:], b.Peer[:]) })
	return u
}

// account returns a peer's, making it if there is none. The caller has t.mu.
func (t *allocations) account(peer ident.PeerID) *account {
	a := t.accounts[peer]
	if a == nil {
		a = &account{peer: peer, budget: budget{rate: t.rate}, ended: t.now().UnixMilli()}
		t.accounts[peer] = a
		t.forgetIdle()
	}
	return a
}

// forgetIdle keeps the accounts within their bound: half of those without an
// allocation go at once, so that it is seldom looked for them. The caller has
// t.mu.
func (t *allocations) forgetIdle() {
	if len(t.accounts) <= maxAccounts {
		return
	}
	var idle []*account
	for _, a := range t.accounts {
		if len(a.conns) == 0 {
			idle = append(idle, a)
		}
	}
	if len(idle) <= maxAccounts {
		return
	}
	slices.SortFunc(idle, func(a, b *account) int { return int(a.ended - b.ended) })
	for _, a := range idle[:len(idle)/2] {
		delete(t.accounts, a.peer)
	}
}
