package usbip

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

// Bounds of one importer's connection.
const (
	maxPending  = 4096     // URBs in flight
	maxBuffered = 64 << 20 // bytes of their buffers; beyond, the connection is not read
	readAhead   = 16 << 10 // bytes: a command and its small data come with one system call
)

// Serve is the exporter's end of the URB phase: it runs what the importer at the
// end of conn submits on dev, until the connection ends, the importer breaks
// the protocol, or dev is gone, which the importer sees as the end of the
// connection: an unplug. It closes conn, cancels what is in flight and waits for
// it, and leaves dev open. The error is nil for an end between two commands.
func Serve(conn io.ReadWriteCloser, dev usb.Device) error {
	e := &exchange{dev: dev, out: newOutbox(conn), pending: map[uint32]*request{}}
	e.changed = sync.NewCond(&e.mu)
	var joined sync.WaitGroup
	over := make(chan struct{})
	joined.Go(e.out.run)
	joined.Go(func() {
		select {
		case <-dev.Gone():
			e.end()
			conn.Close()
		case <-over:
		}
	})
	err := e.read(bufio.NewReaderSize(conn, readAhead))
	close(over)
	conn.Close()
	e.end()
	e.cancelAll()
	e.out.close()
	joined.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// exchange is one importer's connection.
type exchange struct {
	dev usb.Device
	out *outbox

	mu       sync.Mutex
	changed  *sync.Cond // pending shrank, or ended
	pending  map[uint32]*request
	buffered int
	ended    bool
}

// request is a submitted URB.
type request struct {
	cmd      *wire.CmdSubmit
	urb      *usb.URB
	unlinked *wire.CmdUnlink // who asked for its cancellation
}

// read handles commands until there are no more.
func (e *exchange) read(conn io.Reader) error {
	for {
		cmd, err := wire.ReadCommand(conn)
		if err != nil {
			return err
		}
		switch cmd := cmd.(type) {
		case *wire.CmdSubmit:
			err = e.submit(cmd)
		case *wire.CmdUnlink:
			e.unlink(cmd)
		}
		if err != nil {
			return err
		}
	}
}

func (e *exchange) submit(cmd *wire.CmdSubmit) error {
	r := &request{cmd: cmd, urb: &usb.URB{
		Endpoint: usb.Endpoint(cmd.Endpoint), Setup: cmd.Setup, Flags: usb.Flags(cmd.Flags), Data: cmd.Data,
		Interval: cmd.Interval, StartFrame: cmd.StartFrame, Done: func(*usb.URB) { e.complete(cmd.Seq) },
	}}
	if cmd.Direction == wire.In {
		r.urb.Data = make([]byte, cmd.Length)
		if cmd.Endpoint != 0 {
			r.urb.Endpoint |= 0x80
		}
	}
	for _, p := range cmd.Packets {
		r.urb.Packets = append(r.urb.Packets, usb.IsoPacket{Offset: p.Offset, Length: p.Length})
	}
	if err := e.admit(r); err != nil {
		return err
	}
	e.dev.Submit(r.urb)
	return nil
}

// admit waits for room and notes the request.
func (e *exchange) admit(r *request) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.buffered > 0 && e.buffered+len(r.urb.Data) > maxBuffered && !e.ended {
		e.changed.Wait()
	}
	switch {
	case e.ended:
		return io.EOF
	case e.pending[r.cmd.Seq] != nil:
		return fmt.Errorf("%w: request %d is pending already", wire.ErrMalformed, r.cmd.Seq)
	case len(e.pending) >= maxPending:
		return fmt.Errorf("%w: more than %d requests in flight", wire.ErrMalformed, maxPending)
	}
	e.pending[r.cmd.Seq] = r
	e.buffered += len(r.urb.Data)
	return nil
}

func (e *exchange) unlink(cmd *wire.CmdUnlink) {
	e.mu.Lock()
	r := e.pending[cmd.Unlink]
	if r == nil { // given back already: its RetSubmit is queued before this
		e.out.put((&wire.RetUnlink{Header: wire.Header{Seq: cmd.Seq}}).AppendTo(nil))
		e.mu.Unlock()
		return
	}
	r.unlinked = cmd
	e.mu.Unlock()
	e.dev.Cancel(r.urb)
}

// complete answers a request, unless the device is gone: an importer that is told
// of an error first tries to reset what is no longer there, and sees the unplug
// seconds later. The replies of one request are queued under the lock, so that
// a RetUnlink cannot overtake the RetSubmit that it missed.
func (e *exchange) complete(seq uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.pending[seq]
	delete(e.pending, seq)
	e.buffered -= len(r.urb.Data)
	e.changed.Broadcast()
	select {
	case <-e.dev.Gone():
		return
	default:
	}
	if r.unlinked != nil && r.urb.Status.Cancelled() {
		e.out.put((&wire.RetUnlink{Header: wire.Header{Seq: r.unlinked.Seq}, Status: int32(usb.StatusReset)}).AppendTo(nil))
		return
	}
	e.out.put(answer(r)...)
	if r.unlinked != nil {
		e.out.put((&wire.RetUnlink{Header: wire.Header{Seq: r.unlinked.Seq}}).AppendTo(nil))
	}
}

// answer makes a request's RetSubmit; plain data is not copied.
func answer(r *request) [][]byte {
	u := r.urb
	m := &wire.RetSubmit{
		Header: wire.Header{Seq: r.cmd.Seq}, Status: int32(u.Status), Actual: uint32(u.Actual),
		StartFrame: u.StartFrame, ErrorCount: u.ErrorCount,
	}
	for _, p := range u.Packets {
		m.Packets = append(m.Packets, wire.IsoPacket{Offset: p.Offset, Length: p.Length, Actual: p.Actual, Status: int32(p.Status)})
	}
	switch {
	case r.cmd.Direction == wire.Out:
		return [][]byte{m.AppendTo(nil)}
	case len(m.Packets) > 0:
		m.Data = u.Data
		return [][]byte{m.AppendTo(nil)}
	}
	return [][]byte{m.AppendTo(nil), u.Data[:u.Actual]}
}

// end makes a blocked admit give up.
func (e *exchange) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	e.changed.Broadcast()
}

// cancelAll cancels what is in flight and waits until nothing is.
func (e *exchange) cancelAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	var urbs []*usb.URB
	for _, r := range e.pending {
		urbs = append(urbs, r.urb)
	}
	e.mu.Unlock()
	for _, u := range urbs {
		e.dev.Cancel(u)
	}
	e.mu.Lock()
	for len(e.pending) > 0 {
		e.changed.Wait()
	}
}
