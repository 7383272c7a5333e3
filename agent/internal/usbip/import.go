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

// List returns the devices that the USB/IP server behind conn exports. It closes
// conn. When ctx ends, List fails.
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
		infos = append(infos, infoOf(d))
	}
	return infos, nil
}

// Import imports a device from the USB/IP server behind conn and returns it
// opened. The Close of the device closes conn; if Import fails, it closes conn
// itself. ctx bounds only the import. Errors wrap usb.ErrInUse or
// usb.ErrNotFound if the server gives that reason.
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

func importDevice(ctx context.Context, conn net.Conn, busID string) (*importedDevice, error) {
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
	d := &importedDevice{
		conn: conn, out: newOutbox(conn), gone: make(chan struct{}),
		pending: map[uint32]*submission{}, unlinks: map[uint32]uint32{},
		devID: reply.Device.DevID(), info: infoOf(wire.ListedDevice{Device: reply.Device}),
	}
	d.joined.Go(d.out.run)
	d.joined.Go(d.receive)
	return d, d.readDescriptors(ctx)
}

// importedDevice is a device of a USB/IP server.
type importedDevice struct {
	conn   net.Conn
	out    *outbox
	devID  uint32
	info   usb.Info
	gone   chan struct{}
	joined sync.WaitGroup

	mu      sync.Mutex
	seq     uint32                 // of the latest command
	pending map[uint32]*submission // CmdSubmits without a reply, by Seq
	unlinks map[uint32]uint32      // CmdUnlinks without a reply: their Seq to that of the CmdSubmit
	ended   bool
}

// submission is an URB and the command that submitted it.
type submission struct {
	cmd *wire.CmdSubmit
	urb *usb.URB
}

func (d *importedDevice) Info() usb.Info        { return d.info }
func (d *importedDevice) Gone() <-chan struct{} { return d.gone }

func (d *importedDevice) Close() error {
	d.conn.Close()
	d.joined.Wait()
	return nil
}

func (d *importedDevice) Submit(u *usb.URB) {
	cmd := &wire.CmdSubmit{
		Header: wire.Header{DevID: d.devID, Endpoint: uint32(u.Endpoint.Number())},
		Flags:  uint32(u.Flags), Length: uint32(len(u.Data)),
		StartFrame: u.StartFrame, Interval: u.Interval, Setup: u.Setup,
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
	d.pending[cmd.Seq] = &submission{cmd, u}
	d.out.put(cmd.AppendTo(nil))
	d.mu.Unlock()
}

func (d *importedDevice) Cancel(u *usb.URB) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for seq, s := range d.pending {
		if s.urb == u {
			d.seq++
			d.unlinks[d.seq] = seq
			d.out.put((&wire.CmdUnlink{Header: wire.Header{Seq: d.seq, DevID: d.devID}, Unlink: seq}).AppendTo(nil))
			return
		}
	}
}

// receive completes URBs until the connection ends. The end of the connection
// counts as an unplug.
func (d *importedDevice) receive() {
	replies := bufio.NewReaderSize(d.conn, readBuffer)
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
	rest := d.pending
	d.pending, d.unlinks = nil, nil
	d.mu.Unlock()
	close(d.gone)
	for _, s := range rest {
		s.urb.Finish(usb.StatusNoDevice)
	}
}

// submitted returns the pending command with that number, or nil.
func (d *importedDevice) submitted(seq uint32) *wire.CmdSubmit {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.pending[seq]; s != nil {
		return s.cmd
	}
	return nil
}

// take removes the pending submission with that number and returns it, or nil.
func (d *importedDevice) take(seq uint32) *submission {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.pending[seq]
	delete(d.pending, seq)
	return s
}

// finish completes an URB with the result m. The URB is pending, because ReadReply
// has found it by calling submitted.
func (d *importedDevice) finish(m *wire.RetSubmit) {
	u := d.take(m.Seq).urb
	u.Status, u.Actual, u.ErrorCount, u.StartFrame = usb.Status(m.Status), int(m.Actual), m.ErrorCount, m.StartFrame
	copy(u.Data, m.Data)
	for i, p := range m.Packets {
		u.Packets[i].Actual, u.Packets[i].Status = p.Actual, usb.Status(p.Status)
	}
	u.Done(u)
}

// unlinked handles the reply to a cancellation. It ignores a reply without a
// command, as the kernel does.
func (d *importedDevice) unlinked(m *wire.RetUnlink) {
	d.mu.Lock()
	seq, ok := d.unlinks[m.Seq]
	delete(d.unlinks, m.Seq)
	d.mu.Unlock()
	if !ok || usb.Status(m.Status) != usb.StatusReset {
		return // too late to cancel: the RetSubmit of the URB has completed it
	}
	if s := d.take(seq); s != nil {
		s.urb.Finish(usb.StatusReset)
	}
}

// readDescriptors sets the descriptors in d.info, which USB/IP's description of a
// device lacks.
func (d *importedDevice) readDescriptors(ctx context.Context) error {
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

// descriptor runs GET_DESCRIPTOR (USB 2.0, 9.4.3).
func (d *importedDevice) descriptor(ctx context.Context, kind, index uint8, length uint16) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	get := usb.Setup{Type: 0x80, Request: 6, Value: uint16(kind)<<8 | uint16(index), Length: length}
	u := &usb.URB{Data: make([]byte, length), Setup: get.Bytes()}
	usb.Do(ctx, d, u)
	if u.Status != usb.StatusOK {
		return nil, fmt.Errorf("status %d", u.Status)
	}
	return u.Data[:u.Actual], nil
}
