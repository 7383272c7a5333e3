package relay

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// maxAccounts is the number of peers without an allocation whose figures are kept. The figures of the peers whose last
// allocation ended longest ago are dropped first. The totals keep them.
const maxAccounts = 4096

// Flow is an amount of relayed packets. Bytes counts their payload, without any header.
type Flow struct {
	Packets uint64
	Bytes   uint64
}

// Traffic holds what was relayed in each direction, and what was not relayed.
type Traffic struct {
	FromClients Flow // from TURN clients to peers
	ToClients   Flow // from peers to TURN clients
	Dropped     Flow // in both directions, because there was no permission
	Limited     Flow // in both directions, because the rate of the peer or of the relay was exceeded
}

// Usage holds the figures of a relay since it was made.
type Usage struct {
	Traffic
	Allocations int    // now
	Allocated   uint64 // allocations ever made
	Refused     uint64 // allocations refused because of a quota or because no port was free
	Streams     int    // TCP and TLS clients connected now
	Unanswered  uint64 // answers withheld from sources that asked too often
	Peers       []PeerUsage
}

// PeerUsage holds the figures of one peer.
type PeerUsage struct {
	Traffic
	Peer        ident.PeerID
	Allocations int // now
}

// Usage returns the totals and the figures of each peer that has an allocation or had one recently, ordered by ID.
// Packets that are relayed meanwhile may be counted in some of the figures only.
func (r *Relay) Usage() Usage {
	u := r.table.usage()
	u.Unanswered = r.answers.Withheld()
	u.Streams = r.streams.Len()
	return u
}

// counters is a Traffic that several goroutines add to.
type counters struct{ from, to, dropped, limited counter }

func fromClients(c *counters) *counter { return &c.from }
func toClients(c *counters) *counter   { return &c.to }
func dropped(c *counters) *counter     { return &c.dropped }
func limited(c *counters) *counter     { return &c.limited }

// counter is a Flow that several goroutines add to.
type counter struct{ packets, bytes atomic.Uint64 }

func (c *counter) add(bytes int) {
	c.packets.Add(1)
	c.bytes.Add(uint64(bytes))
}

func (c *counter) read() Flow { return Flow{Packets: c.packets.Load(), Bytes: c.bytes.Load()} }

func (c *counters) read() Traffic {
	return Traffic{
		FromClients: c.from.read(), ToClients: c.to.read(), Dropped: c.dropped.read(),
		Limited: c.limited.read(),
	}
}

// account holds the allocations of one peer and its figures.
type account struct {
	peer ident.PeerID
	used counters
	rate *limits.Flow

	// Guarded by allocationTable.mu.
	allocations []*allocation
	ended       int64 // unix milliseconds: when the last allocation ended
}

// usage reads all accounts.
func (t *allocationTable) usage() Usage {
	t.mu.Lock()
	u := Usage{
		Allocations: len(t.byPort), Allocated: t.made, Refused: t.refused,
		Peers: make([]PeerUsage, 0, len(t.accounts)),
	}
	for id, a := range t.accounts {
		u.Peers = append(u.Peers, PeerUsage{Traffic: a.used.read(), Peer: id, Allocations: len(a.allocations)})
	}
	t.mu.Unlock()
	u.Traffic = t.total.read()
	slices.SortFunc(u.Peers, func(a, b PeerUsage) int { return bytes.Compare(a.Peer[:], b.Peer[:]) })
	return u
}

// account returns the account of a peer, and makes one if necessary. mu must be held.
func (t *allocationTable) account(peer ident.PeerID) *account {
	a := t.accounts[peer]
	if a == nil {
		a = &account{peer: peer, rate: limits.NewFlow(t.peerRate), ended: t.now().UnixMilli()}
		t.accounts[peer] = a
		t.forgetIdle()
	}
	return a
}

// forgetIdle removes half of the accounts without an allocation when there are too many, so that it seldom has to
// search. mu must be held.
func (t *allocationTable) forgetIdle() {
	if len(t.accounts) <= maxAccounts {
		return
	}
	var idle []*account
	for _, a := range t.accounts {
		if len(a.allocations) == 0 {
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
