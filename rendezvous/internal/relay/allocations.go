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

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// Bounds of allocations.
const (
	abandoned = 20 * time.Second // without a packet of its client an allocation gives way to a new one
	portDraws = 64               // attempts to find a free port
)

var (
	errQuota    = errors.New("the peer has as many allocations as it may have")
	errCapacity = errors.New("the relay has as many allocations as it may have")
	errPorts    = errors.New("no relay port is free")
)

// allocations is every allocation of this server.
type allocations struct {
	// Static.
	at    Range         // what clients are told
	bind  netip.Addr    // where the sockets are
	quota int           // allocations of one peer
	most  int           // allocations of all
	rate  Rate          // of one peer
	life  time.Duration // of an allocation, at most, without a word of its client's
	now   func() time.Time

	// Atomic.
	taken      portSet                 // those of allocations
	neighbours atomic.Pointer[[]Range] // the relays of other instances
	total      counters                // of all accounts ever
	budget     budget                  // of all accounts

	// Guarded by mu.
	mu       sync.Mutex
	accounts map[ident.PeerID]*account
	ports    map[uint16]*relayConn
	revoked  map[ident.PeerID]time.Time // while credentials from before may be good
	made     uint64                     // allocations
	refused  uint64                     // allocations
	closed   bool
}

// open makes an allocation's socket. A peer at its quota loses the one that its
// client abandoned longest ago, if any: after a NAT has forgotten its mappings
// an agent must not wait for its old allocations to time out. A port other than
// 0 is the one wanted.
func (t *allocations) open(d *door, port int) (*relayConn, error) {
	peer := d.login.peer
	if stale := t.makeRoom(peer); stale != nil {
		stale.Close()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, net.ErrClosed
	}
	a := t.account(peer)
	if len(a.conns) >= t.quota {
		t.refused++
		return nil, errQuota
	}
	if len(t.ports) >= t.most {
		t.refused++
		return nil, errCapacity
	}
	socket, err := t.socket(port)
	if err != nil {
		t.refused++
		return nil, err
	}
	c, err := newRelayConn(d, a, socket)
	if err != nil {
		t.refused++
		return nil, errors.Join(err, socket.Close())
	}
	a.conns = append(a.conns, c)
	t.ports[c.port] = c
	t.taken.set(c.port)
	t.made++
	return c, nil
}

// makeRoom returns the allocation that must go before the peer gets another.
func (t *allocations) makeRoom(peer ident.PeerID) *relayConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[peer]
	if a == nil || len(a.conns) < t.quota {
		return nil
	}
	limit := t.now().Add(-abandoned).UnixMilli()
	var oldest *relayConn
	for _, c := range a.conns {
		if at := c.active.Load(); at < limit {
			oldest, limit = c, at
		}
	}
	return oldest
}

// socket binds the port wanted, or a random free one of the range.
func (t *allocations) socket(wanted int) (*net.UDPConn, error) {
	for range portDraws {
		port := t.at.First + uint16(rand.UintN(uint(t.at.Last-t.at.First)+1))
		if wanted >= int(t.at.First) && wanted <= int(t.at.Last) {
			port = uint16(wanted)
		}
		if t.ports[port] != nil {
			continue
		}
		socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.bind, port)))
		if err != nil {
			continue // somebody else's
		}
		datagrams.SetBuffers(socket, socketBuffer)
		return socket, nil
	}
	return nil, fmt.Errorf("%w between %d and %d", errPorts, t.at.First, t.at.Last)
}

func (t *allocations) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ports)
}

// revoke ends a peer's allocations, and refuses credentials from before.
func (t *allocations) revoke(peer ident.PeerID, at time.Time) {
	t.mu.Lock()
	over := t.now().Add(-Validity)
	if at.After(over) {
		t.revoked[peer] = at
	}
	maps.DeleteFunc(t.revoked, func(_ ident.PeerID, at time.Time) bool { return !at.After(over) })
	var conns []*relayConn
	if a := t.accounts[peer]; a != nil {
		conns = slices.Clone(a.conns)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// refuses reports whether what was issued to a peer at a moment is no longer
// good.
func (t *allocations) refuses(peer ident.PeerID, issued time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.revoked[peer]
	return ok && !issued.After(at)
}

// close ends every allocation and lets no new one begin.
func (t *allocations) close() {
	t.mu.Lock()
	t.closed = true
	conns := make([]*relayConn, 0, len(t.ports))
	for _, c := range t.ports {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// forget takes a closed allocation off the lists.
func (t *allocations) forget(c *relayConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.ports, c.port)
	t.taken.unset(c.port)
	c.account.conns = slices.DeleteFunc(c.account.conns, func(other *relayConn) bool { return other == c })
	c.account.ended = t.now().UnixMilli()
}
