package usbip

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/internal/bufferpool"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

// Bounds of one importer's connection.
const (
	maxPending  = 4096     // URBs in flight
	maxBuffered = 64 << 20 // bytes of their buffers; Serve stops reading while the next URB would exceed it
	readBuffer  = 16 << 10 // bytes: one system call reads a command and its data, if they are short
)

// Serve is the exporter's side of the URB phase. It runs the URBs of the importer
// behind conn on dev until the connection ends, the importer violates the
// protocol or dev is gone. When dev is gone, Serve closes the connection, which
// the importer treats as an unplug.
//
// Before Serve returns, it closes conn, cancels the URBs in flight and waits for
// them. It does not close dev. The error is nil if the connection ended between
// two commands or dev is gone.
func Serve(conn io.ReadWriteCloser, dev usb.Device) error {
	e := &exchange{dev: dev, out: newOutbox(conn), pending: map[uint32]*request{}}
	e.changed = sync.NewCond(&e.mu)
	var joined sync.WaitGroup
	ended := make(chan struct{})
	joined.Go(e.out.run)
	joined.Go(func() {
		select {
		case <-dev.Gone():
			e.end()
			conn.Close()
		case <-ended:
		}
	})
	err := e.read(bufio.NewReaderSize(conn, readBuffer))
	close(ended)
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

// exchange is the URB phase of one importer's connection.
type exchange struct {
	dev usb.Device
	out *outbox

	// buffers holds the memory of the data of INs. Other importers do not use it: a device
	// that reports more bytes than it has written reveals what was there.
	buffers bufferpool.Pool

	mu       sync.Mutex
	changed  *sync.Cond          // on mu: signalled when pending shrinks or ended is set
	pending  map[uint32]*request // by Seq of the CmdSubmit
	buffered int                 // bytes of the pending URBs' buffers
	ended    bool
}

// request is a pending URB and the command that submitted it.
type request struct {
	cmd    *wire.CmdSubmit
	urb    *usb.URB
	unlink *wire.CmdUnlink // the command that cancels the URB, or nil
}

// read handles commands until an error, which may be io.EOF.
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
		r.urb.Data = e.buffers.Get(int(cmd.Length))
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

// admit waits until the buffer of r fits within maxBuffered and adds r to the
// pending requests. It returns io.EOF if the exchange ends meanwhile.
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
		return fmt.Errorf("%w: another request with number %d is pending", wire.ErrMalformed, r.cmd.Seq)
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
	if r == nil { // already complete: its RetSubmit is queued before this reply
		e.out.put(&wire.RetUnlink{Header: wire.Header{Seq: cmd.Seq}}, nil, nil)
		e.mu.Unlock()
		return
	}
	r.unlink = cmd
	e.mu.Unlock()
	e.dev.Cancel(r.urb)
}

// complete replies to a request. It sends no reply if the device is gone: on an
// error the importer would first try to reset the device, and would notice the
// unplug only seconds later. complete queues the replies while it holds mu.
// Therefore a RetUnlink that comes too late to cancel follows the RetSubmit.
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
	if r.unlink != nil && r.urb.Status.Cancelled() {
		m := &wire.RetUnlink{Header: wire.Header{Seq: r.unlink.Seq}, Status: int32(usb.StatusReset)}
		e.out.put(m, nil, nil)
		return
	}
	e.reply(r)
	if r.unlink != nil {
		e.out.put(&wire.RetUnlink{Header: wire.Header{Seq: r.unlink.Seq}}, nil, nil)
	}
}

// reply queues the RetSubmit of a request. It copies the data of isochronous URBs only.
// The memory of the data is used again, unless the URB failed: then a backend may still
// read or write it.
func (e *exchange) reply(r *request) {
	u := r.urb
	m := &wire.RetSubmit{
		Header: wire.Header{Seq: r.cmd.Seq}, Status: int32(u.Status), Actual: uint32(u.Actual),
		StartFrame: u.StartFrame, ErrorCount: u.ErrorCount,
	}
	for _, p := range u.Packets {
		m.Packets = append(m.Packets, wire.IsoPacket{
			Offset: p.Offset, Length: p.Length, Actual: p.Actual, Status: int32(p.Status),
		})
	}
	in, done := r.cmd.Direction == wire.In, u.Status == usb.StatusOK
	switch {
	case in && len(m.Packets) == 0:
		data := u.Data
		e.out.put(m, data[:u.Actual], func() {
			if done {
				e.buffers.Put(data)
			}
		})
		return
	case in:
		m.Data = u.Data
	}
	e.out.put(m, nil, nil)
	switch {
	case done && in:
		e.buffers.Put(u.Data)
	case done:
		wire.FreeData(u.Data)
	}
}

// end makes admit return io.EOF, also one that is waiting.
func (e *exchange) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	e.changed.Broadcast()
}

// cancelAll cancels the pending requests and waits until all are complete.
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
