package relayload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// Load describes the packets that a server relays.
type Load struct {
	Server    netip.AddrPort
	Logins    []Login    // one allocation each
	Peer      netip.Addr // an address of this machine that the server relays to
	Size      int        // bytes of a packet
	Rate      int        // packets per second of all allocations together
	Burst     int        // packets sent to one allocation at once; 0: 1
	ToClients bool       // from peers to clients; otherwise from clients to peers
	For       time.Duration
	CPU       func() (time.Duration, error) // returns the processor time that the server has used
}

// Result holds the figures of a measurement.
type Result struct {
	Sent, Delivered int           // packets
	Took            time.Duration // of sending
	CPU             time.Duration // of the server until the last packet has arrived
}

// Times of a measurement.
const (
	warmUpTime   = 500 * time.Millisecond
	sendInterval = 100 * time.Microsecond // between two batches
	lastInterval = 300 * time.Millisecond // without a packet, after which no more are expected
)

const socketBuffer = 8 << 20 // bytes

// flow is one allocation, and the sockets through which packets enter and leave it.
type flow struct {
	client   *client
	peer     *net.UDPConn
	in       *datagrams.Writer
	to       netip.AddrPort
	out      *net.UDPConn
	received atomic.Int64
}

// Run puts load on a server and measures it.
func Run(ctx context.Context, l Load) (r Result, err error) {
	if l.Size < 8 || l.Size > 1400 || len(l.Logins) == 0 || l.Rate < 1 {
		return Result{}, errors.New("load: want packets of 8 to 1400 bytes, a rate, and a login for each allocation")
	}
	var all []*flow
	var reading sync.WaitGroup
	defer func() {
		for _, e := range all {
			err = errors.Join(err, e.client.close(), e.peer.Close())
		}
		reading.Wait()
	}()
	for _, login := range l.Logins {
		e, err := open(l, login)
		if err != nil {
			return Result{}, err
		}
		all = append(all, e)
		reading.Go(e.count)
	}
	warm := l
	warm.For = warmUpTime
	if _, err := warm.measure(ctx, all); err != nil {
		return Result{}, err
	}
	return l.measure(ctx, all)
}

// open makes an allocation and its sockets.
func open(l Load, login Login) (_ *flow, err error) {
	e := &flow{}
	if e.peer, err = net.ListenUDP("udp4", &net.UDPAddr{IP: l.Peer.AsSlice()}); err != nil {
		return nil, err
	}
	if e.client, err = dial(l.Server, login, e.peer.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		e.peer.Close()
		return nil, err
	}
	in := e.client.conn
	e.out, e.to = e.peer, l.Server
	if l.ToClients {
		in, e.out, e.to = e.peer, e.client.conn, e.client.relayed
	}
	socket, err := datagrams.NewSocket(in)
	if err != nil {
		return nil, err
	}
	socket.DisableSegments() // as packets of different senders would be
	e.in = socket.NewWriter()
	datagrams.SetBuffers(in, socketBuffer)
	datagrams.SetBuffers(e.out, socketBuffer)
	return e, nil
}

// count counts packets until the socket is closed.
func (e *flow) count() {
	r, err := datagrams.NewReader(e.out)
	if err != nil {
		return
	}
	for {
		p, _, err := r.Next()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && len(p) >= 8 {
			e.received.Add(1)
		}
	}
}

// measure sends packets for the time of the load.
func (l Load) measure(ctx context.Context, all []*flow) (r Result, err error) {
	before := received(all)
	cpu, err := l.CPU()
	if err != nil {
		return r, err
	}
	packet, burst := l.packet(), max(1, l.Burst)
	begin := time.Now()
	for r.Took < l.For {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		r.Took = time.Since(begin)
		due := int(float64(min(r.Took, l.For)) * float64(l.Rate) / float64(time.Second))
		for due -= due % burst; r.Sent < due; r.Sent++ {
			e := all[r.Sent/burst%len(all)]
			if err := e.in.Add(nil, packet, e.to); err != nil {
				return r, fmt.Errorf("send: %w", err)
			}
		}
		for _, e := range all {
			if err := e.in.Flush(); err != nil {
				return r, fmt.Errorf("send: %w", err)
			}
		}
		time.Sleep(sendInterval)
	}
	for last := -1; last != received(all); {
		last = received(all)
		time.Sleep(lastInterval)
	}
	after, err := l.CPU()
	r.Delivered, r.CPU = received(all)-before, after-cpu
	return r, err
}

// packet returns the packet to send: channel data from clients, and plain data from peers.
func (l Load) packet() []byte {
	if l.ToClients {
		return make([]byte, l.Size)
	}
	p := binary.BigEndian.AppendUint16(nil, firstChannel)
	p = binary.BigEndian.AppendUint16(p, uint16(l.Size))
	return append(p, make([]byte, l.Size+-l.Size&3)...)
}

func received(all []*flow) (n int) {
	for _, e := range all {
		n += int(e.received.Load())
	}
	return n
}
