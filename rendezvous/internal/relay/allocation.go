package relay

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// maxData is the size of the longest packet to a client, in bytes.
const maxData = 1500

// allocation is the socket of one allocation, and relays its packets. The TURN server would read the socket and forward
// each packet. Its goroutine waits in ReadFrom instead, which relays the packets to the client itself and returns when
// the socket ends. Packets from the client, which arrive on channels or as Send indications, are sent when the TURN
// socket has handled everything that has arrived.
type allocation struct {
	*net.UDPConn // for its local address and its closing
	table        *allocationTable
	account      *account
	turn         *turnSocket
	login        login // that made it
	port         uint16
	active       atomic.Int64 // unix milliseconds of the last packet from the client
	closing      sync.Once
	permissions  permissions

	// Owned by the goroutine of the TURN socket.
	toPeers *datagrams.Writer

	// Owned by the goroutine of the allocation.
	fromPeers *datagrams.Reader
	toClient  outbox
	data      stun.Message // the current Data indication

	mu    sync.Mutex
	timer *time.Timer // guarded by mu; closes the allocation
}

func newAllocation(t *turnSocket, by login, a *account, socket *net.UDPConn) (*allocation, error) {
	in, err := datagrams.NewReader(socket)
	if err != nil {
		return nil, err
	}
	out, err := datagrams.NewSocket(socket)
	if err != nil {
		return nil, err
	}
	c := &allocation{
		UDPConn: socket, table: t.relay.table, account: a, turn: t, login: by,
		port:      socket.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		fromPeers: in, toPeers: out.NewWriter(), toClient: t.clients.outbox(by.client),
		permissions: newPermissions(),
	}
	c.active.Store(t.now / int64(time.Millisecond))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(c.table.lifetime, func() { c.Close() })
	return c, nil
}

// expire closes the allocation after a while, unless it is called again before.
func (a *allocation) expire(after time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer.Stop() {
		a.timer.Reset(after)
	}
}

// permits reports whether the client may exchange packets with a peer, and returns the channel that it has for the
// peer, or 0. now is in unix nanoseconds.
func (a *allocation) permits(peer netip.AddrPort, now int64) (number uint16, ok bool) {
	p, number, ok := a.permissions.lookup(peer, now)
	return number, ok && (!p.relayOnly || a.table.relays(peer))
}

// count counts a packet of n bytes, and reports whether it may pass: if it is permitted, and within the rates of the
// peer and of the relay.
func (a *allocation) count(n int, permitted bool, now int64, direction func(*counters) *counter) bool {
	pass := false
	switch {
	case !permitted:
		direction = dropped
	case !a.account.rate.Take(now, n) || !a.table.rate.Take(now, n):
		direction = limited
	default:
		pass = true
	}
	direction(&a.account.used).add(n)
	direction(&a.table.total).add(n)
	return pass
}

// ReadFrom relays the packets that peers send to the client, until the socket ends. It returns only that error.
// Before it waits for more packets, it sends those that it has queued.
func (a *allocation) ReadFrom([]byte) (int, net.Addr, error) {
	now := int64(0)
	for {
		waits := a.fromPeers.Buffered() == 0
		if waits {
			a.toClient.flush()
		}
		data, from, err := a.fromPeers.Next()
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, err
		case err != nil:
			continue // an ICMP error about a packet that was sent before
		}
		if waits {
			now = a.table.now().UnixNano()
		}
		a.relayToClient(data, from, now)
	}
}

// relayToClient queues a packet of a peer for the client: on the channel of the peer, or in a Data indication.
func (a *allocation) relayToClient(data []byte, from netip.AddrPort, now int64) {
	number, ok := a.permits(from, now)
	if !a.count(len(data), ok && len(data) <= maxData, now, toClients) {
		return
	}
	if number == 0 {
		a.toClient.add(nil, a.dataIndication(from, data))
		return
	}
	var header [channelHeader]byte
	binary.BigEndian.PutUint16(header[:], number)
	binary.BigEndian.PutUint16(header[2:], uint16(len(data)))
	a.toClient.add(header[:], data)
}

// dataIndication returns a Data indication (RFC 5766 section 10.3), which is valid until the next call.
func (a *allocation) dataIndication(from netip.AddrPort, data []byte) []byte {
	var transaction [stun.TransactionIDSize]byte
	binary.BigEndian.PutUint64(transaction[:], rand.Uint64())
	binary.BigEndian.PutUint32(transaction[8:], rand.Uint32())
	begin(&a.data, dataIndication, transaction)
	add(&a.data, xorAddress{stun.AttrXORPeerAddress, from})
	a.data.Add(stun.AttrData, data)
	return a.data.Raw
}

// fromChannel relays data that the client sends on a channel.
func (a *allocation) fromChannel(number uint16, data []byte) {
	to, ok := a.permissions.peerOf(number, a.turn.now)
	if !ok {
		a.count(len(data), false, a.turn.now, dropped)
		return
	}
	a.relayToPeer(data, to)
}

// WriteTo relays data that the client sends in a Send indication. It loses what it cannot send, as datagrams are lost.
func (a *allocation) WriteTo(p []byte, addr net.Addr) (int, error) {
	if to, ok := addrPort(addr); ok {
		a.relayToPeer(p, to)
	} else {
		a.count(len(p), false, a.turn.now, dropped)
	}
	return len(p), nil
}

// relayToPeer queues a packet of the client for a peer. It drops packets to addresses that are not permitted, and to
// ports of a relay's machine that are not the relay's, whatever the TURN server has permitted.
func (a *allocation) relayToPeer(p []byte, to netip.AddrPort) {
	now := a.turn.now
	a.active.Store(now / int64(time.Millisecond))
	if _, ok := a.permits(to, now); !a.count(len(p), ok, now, fromClients) {
		return
	}
	before := a.toPeers.Pending()
	a.toPeers.Add(nil, p, to) // an error means that the socket has ended, which its reader notices
	if before == 0 && a.toPeers.Pending() > 0 {
		a.turn.pending = append(a.turn.pending, a)
	}
}

// Close ends the allocation. The TURN server then gets an error from ReadFrom and forgets the allocation too. Close
// may be called several times.
func (a *allocation) Close() error {
	a.closing.Do(func() {
		a.UDPConn.Close()
		a.mu.Lock()
		a.timer.Stop()
		a.mu.Unlock()
		a.table.forget(a)
		a.turn.forget(a)
	})
	return nil
}
