package usbip

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

// List asks the USB/IP server at the end of conn what it exports, and closes
// conn.
func List(ctx context.Context, conn net.Conn) ([]usb.Info, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write((&wire.ReqDevlist{}).AppendTo(nil)); err != nil {
		return nil, fmt.Errorf("USB/IP device list: %w", err)
	}
	reply, err := wire.ReadRepDevlist(conn)
	if err != nil {
		return nil, fmt.Errorf("USB/IP device list: %w", err)
	}
	var infos []usb.Info
	for _, d := range reply.Devices {
		infos = append(infos, undescribe(d))
	}
	return infos, nil
}

// Import asks the USB/IP server at the end of conn for a device and returns it
// opened. Its Close closes conn. ctx bounds the asking only.
func Import(ctx context.Context, conn net.Conn, busID string) (usb.Device, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	d, err := importDevice(ctx, conn, busID)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		conn.Close()
		if d != nil {
			d.Close()
		}
		return nil, fmt.Errorf("USB/IP import of %s: %w", busID, err)
	}
	return d, nil
}

func importDevice(ctx context.Context, conn net.Conn, busID string) (*imported, error) {
	if _, err := conn.Write((&wire.ReqImport{BusID: busID}).AppendTo(nil)); err != nil {
		return nil, err
	}
	reply, err := wire.ReadRepImport(conn)
	if err != nil {
		return nil, err
	}
	switch reply.Status {
	case wire.StatusOK:
	case wire.StatusBusy:
		return nil, usb.ErrInUse
	case wire.StatusNoDevice:
		return nil, usb.ErrNotFound
	default:
		return nil, fmt.Errorf("the server refused with status %d", reply.Status)
	}
	d := &imported{
		conn: conn, out: newOutbox(conn), gone: make(chan struct{}), pending: map[uint32]*asked{},
		devID: reply.Device.DevID(), info: undescribe(wire.ListedDevice{Device: reply.Device}),
	}
	d.joined.Go(d.out.run)
	d.joined.Go(d.receive)
	return d, d.describe(ctx)
}

// imported is a device at a USB/IP server.
type imported struct {
	conn   net.Conn
	out    *outbox
	devID  uint32
	info   usb.Info
	gone   chan struct{}
	joined sync.WaitGroup

	mu      sync.Mutex
	seq     uint32
	pending map[uint32]*asked
	ended   bool
}

// asked is a submitted URB.
type asked struct {
	cmd *wire.CmdSubmit
	urb *usb.URB
}

func (d *imported) Info() usb.Info        { return d.info }
func (d *imported) Gone() <-chan struct{} { return d.gone }

func (d *imported) Close() error {
	d.conn.Close()
	d.joined.Wait()
	return nil
}

func (d *imported) Submit(u *usb.URB) {
	cmd := &wire.CmdSubmit{
		Header: wire.Header{DevID: d.devID, Endpoint: uint32(u.Endpoint.Number())},
		Flags:  uint32(u.Flags), Length: uint32(len(u.Data)), StartFrame: u.StartFrame, Interval: u.Interval, Setup: u.Setup,
	}
	if u.In() {
		cmd.Direction = wire.In
	} else {
		cmd.Data = u.Data
	}
	for _, p := range u.Packets {
		cmd.Packets = append(cmd.Packets, wire.IsoPacket{Offset: p.Offset, Length: p.Length})
	}
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		u.Finish(usb.StatusNoDevice)
		return
	}
	d.seq++
	cmd.Seq = d.seq
	d.pending[cmd.Seq] = &asked{cmd, u}
	d.out.put(cmd.AppendTo(nil))
	d.mu.Unlock()
}

func (d *imported) Cancel(u *usb.URB) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for seq, a := range d.pending {
		if a.urb == u && a.cmd.Seq == seq {
			d.seq++
			d.out.put((&wire.CmdUnlink{Header: wire.Header{Seq: d.seq, DevID: d.devID}, Unlink: seq}).AppendTo(nil))
			// The answer names only its own number.
			d.pending[d.seq] = &asked{urb: u, cmd: &wire.CmdSubmit{Header: wire.Header{Seq: seq}}}
			return
		}
	}
}

// receive completes URBs until the connection ends, which is the unplug.
func (d *imported) receive() {
	replies := bufio.NewReaderSize(d.conn, readAhead)
	for {
		reply, err := wire.ReadReply(replies, d.submitted)
		if err != nil {
			break
		}
		switch reply := reply.(type) {
		case *wire.RetSubmit:
			d.finish(reply)
		case *wire.RetUnlink:
			d.unlinked(reply)
		}
	}
	d.conn.Close()
	d.out.close()
	d.mu.Lock()
	d.ended = true
	left := d.pending
	d.pending = nil
	d.mu.Unlock()
	close(d.gone)
	for seq, a := range left {
		if a.cmd.Seq == seq { // not a cancellation
			a.urb.Finish(usb.StatusNoDevice)
		}
	}
}

func (d *imported) submitted(seq uint32) *wire.CmdSubmit {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.pending[seq]; a != nil && a.cmd.Seq == seq {
		return a.cmd
	}
	return nil
}

func (d *imported) take(seq uint32) *asked {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.pending[seq]
	delete(d.pending, seq)
	return a
}

func (d *imported) finish(m *wire.RetSubmit) {
	u := d.take(m.Seq).urb
	u.Status, u.Actual, u.ErrorCount, u.StartFrame = usb.Status(m.Status), int(m.Actual), m.ErrorCount, m.StartFrame
	copy(u.Data, m.Data)
	for i, p := range m.Packets {
		u.Packets[i].Actual, u.Packets[i].Status = p.Actual, usb.Status(p.Status)
	}
	u.Done(u)
}

func (d *imported) unlinked(m *wire.RetUnlink) {
	cancellation := d.take(m.Seq)
	if cancellation == nil || usb.Status(m.Status) != usb.StatusReset {
		return // it had been answered before
	}
	if a := d.take(cancellation.cmd.Seq); a != nil {
		a.urb.Finish(usb.StatusReset)
	}
}

// describe reads the descriptors, which USB/IP's description lacks.
func (d *imported) describe(ctx context.Context) error {
	const deviceDescriptor, configDescriptor = 1, 2
	desc, err := d.descriptor(ctx, deviceDescriptor, 0, 18)
	if err != nil {
		return fmt.Errorf("device descriptor: %w", err)
	}
	if len(desc) != 18 {
		return errors.New("device descriptor: too short")
	}
	d.info.Descriptors = desc
	for n := range desc[17] {
		head, err := d.descriptor(ctx, configDescriptor, n, 9)
		if err == nil && len(head) < 9 {
			err = errors.New("too short")
		}
		if err != nil {
			return fmt.Errorf("configuration descriptor %d: %w", n, err)
		}
		all, err := d.descriptor(ctx, configDescriptor, n, binary.LittleEndian.Uint16(head[2:]))
		if err != nil {
			return fmt.Errorf("configuration descriptor %d: %w", n, err)
		}
		d.info.Descriptors = append(d.info.Descriptors, all...)
	}
	return nil
}

// descriptor is GET_DESCRIPTOR (USB 2.0 section 9.4.3).
func (d *imported) descriptor(ctx context.Context, kind, index uint8, length uint16) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	u := &usb.URB{Data: make([]byte, length), Setup: [8]byte{0x80, 6, index, kind, 0, 0, byte(length), byte(length >> 8)}}
	usb.Do(ctx, d, u)
	if u.Status != usb.StatusOK {
		return nil, fmt.Errorf("status %d", u.Status)
	}
	return u.Data[:u.Actual], nil
}
