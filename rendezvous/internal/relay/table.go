package relay

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/policy"
)

const (
	abandonedAfter = 20 * time.Second // without a packet from its client, an allocation gives way to a new one
	portAttempts   = 64               // to find a free port
)

var (
	errQuota    = errors.New("the peer has its maximum number of allocations")
	errCapacity = errors.New("the relay has its maximum number of allocations")
	errPorts    = errors.New("no relay port is free")
	errRevoked  = errors.New("the credentials have been revoked")
)

// allocationTable holds all allocations of a relay and enforces their quotas and rates.
type allocationTable struct {
	// Static.
	authority *policy.Authority
	ports     Range      // the relayed addresses as clients see them
	bind      netip.Addr // where the sockets are opened
	quota     int        // allocations of one peer
	most      int        // allocations of all peers
	peerRate  limits.FlowRate
	rate      *limits.Flow  // of all peers
	lifetime  time.Duration // of an allocation that is not refreshed
	now       func() time.Time

	// These fields are accessed atomically.
	taken      portSet                 // the ports of allocations
	neighbours atomic.Pointer[[]Range] // the relays of other instances
	total      counters                // of all accounts ever

	// Guarded by mu.
	mu       sync.Mutex
	accounts map[ident.PeerID]*account
	byPort   map[uint16]*allocation
	made     uint64 // allocations ever made
	refused  uint64 // allocations ever refused
	closed   bool
}

func newAllocationTable(c Config, authority *policy.Authority) *allocationTable {
	return &allocationTable{
		authority: authority, ports: Range{IP: c.IP, First: c.MinPort, Last: c.MaxPort}, bind: bindable(c.IP),
		quota: c.Quota, most: c.MaxAllocations, peerRate: c.PeerRate, rate: limits.NewFlow(c.Rate),
		lifetime: maxLifetime, now: c.Now,
		accounts: map[ident.PeerID]*account{}, byPort: map[uint16]*allocation{},
	}
}

// open makes an allocation. If a peer has reached its quota, open closes the allocation that its client abandoned
// longest ago, if there is one: an agent whose NAT has forgotten its mappings must not wait until its old allocations
// expire. A port other than 0 is the one that the client wants.
func (t *allocationTable) open(s *turnSocket, by login, port int) (*allocation, error) {
	if stale := t.abandoned(by.Peer); stale != nil {
		stale.Close()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, net.ErrClosed
	}
	if t.authority.Revoked(by.Identity) { // since the request was authenticated
		return nil, errRevoked
	}
	a := t.account(by.Peer)
	made, err := t.tryOpen(s, by, a, port)
	if err != nil {
		t.refused++
		return nil, err
	}
	a.allocations = append(a.allocations, made)
	t.byPort[made.port] = made
	t.taken.set(made.port)
	t.made++
	return made, nil
}

// tryOpen makes an allocation that is not in the table yet. mu must be held.
func (t *allocationTable) tryOpen(s *turnSocket, by login, a *account, port int) (*allocation, error) {
	if len(a.allocations) >= t.quota {
		return nil, errQuota
	}
	if len(t.byPort) >= t.most {
		return nil, errCapacity
	}
	socket, err := t.socket(port)
	if err != nil {
		return nil, err
	}
	made, err := newAllocation(s, by, a, socket)
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return made, nil
}

// abandoned returns the allocation that must be closed before the peer gets another one, or nil.
func (t *allocationTable) abandoned(peer ident.PeerID) *allocation {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[peer]
	if a == nil || len(a.allocations) < t.quota {
		return nil
	}
	limit := t.now().Add(-abandonedAfter).UnixMilli()
	var oldest *allocation
	for _, one := range a.allocations {
		if at := one.active.Load(); at < limit {
			oldest, limit = one, at
		}
	}
	return oldest
}

// socket opens the wanted port, or a random free one of the range. mu must be held.
func (t *allocationTable) socket(wanted int) (*net.UDPConn, error) {
	for range portAttempts {
		port := t.ports.First + uint16(rand.UintN(uint(t.ports.Last-t.ports.First)+1))
		if wanted >= int(t.ports.First) && wanted <= int(t.ports.Last) {
			port = uint16(wanted)
		}
		if t.byPort[port] != nil {
			continue
		}
		socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.bind, port)))
		if err != nil {
			continue // another program has the port
		}
		datagrams.SetBuffers(socket, socketBuffer)
		return socket, nil
	}
	return nil, fmt.Errorf("%w between %d and %d", errPorts, t.ports.First, t.ports.Last)
}

func (t *allocationTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byPort)
}

// closeAll closes the allocations of a peer.
func (t *allocationTable) closeAll(peer ident.PeerID) {
	t.mu.Lock()
	var left []*allocation
	if a := t.accounts[peer]; a != nil {
		left = slices.Clone(a.allocations)
	}
	t.mu.Unlock()
	for _, a := range left {
		a.Close()
	}
}

// close closes all allocations and refuses new ones.
func (t *allocationTable) close() {
	t.mu.Lock()
	t.closed = true
	left := slices.Collect(maps.Values(t.byPort))
	t.mu.Unlock()
	for _, a := range left {
		a.Close()
	}
}

// forget removes a closed allocation.
func (t *allocationTable) forget(a *allocation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byPort, a.port)
	t.taken.unset(a.port)
	a.account.allocations = slices.DeleteFunc(a.account.allocations, func(other *allocation) bool { return other == a })
	a.account.ended = t.now().UnixMilli()
}
