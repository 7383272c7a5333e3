package usbip

import (
	"bufio"
	"net"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/internal/bufferpool"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

// maxLate bounds the cancelled URBs whose late results are still accepted.
const maxLate = usb.MaxPending

// importedDevice is a device of a USB/IP server. Only the goroutine receive
// completes the URBs that Submit has accepted.
type importedDevice struct {
	conn    net.Conn
	out     *outbox
	devID   uint32
	info    usb.Info // constant after Import
	gone    chan struct{}
	joined  sync.WaitGroup
	buffers bufferpool.Pool // of data on their way to the server

	mu       sync.Mutex
	seq      uint32                     // of the latest command
	pending  map[uint32]*submission     // CmdSubmits without a reply, by Seq
	byURB    map[*usb.URB]uint32        // Seq of the CmdSubmit of each pending URB
	unlinks  map[uint32]uint32          // CmdUnlinks without a reply: their Seq to that of the CmdSubmit
	late     map[uint32]*wire.CmdSubmit // cancelled commands that may still get a result, by Seq
	lateSeqs []uint32                   // the keys of late, oldest first
	layout   layout
	ending   usb.Status // not StatusOK: the device has ended, and new URBs get this status
}

// submission is an URB and the command that submitted it.
type submission struct {
	cmd       *wire.CmdSubmit
	urb       *usb.URB
	cancelled bool // a CmdUnlink was sent
}

func newImportedDevice(conn net.Conn, devID uint32, info usb.Info) *importedDevice {
	d := &importedDevice{
		conn: conn, out: newOutbox(conn), devID: devID, info: info, gone: make(chan struct{}),
		pending: map[uint32]*submission{}, byURB: map[*usb.URB]uint32{},
		unlinks: map[uint32]uint32{}, late: map[uint32]*wire.CmdSubmit{},
	}
	d.joined.Go(d.out.run)
	d.joined.Go(d.receive)
	return d
}

// describe sets the descriptors of the device. If no configuration is active, it
// returns the value of the first one, which the caller must select, otherwise 0.
func (d *importedDevice) describe(raw []byte) (unselected uint8, err error) {
	parsed, err := usb.ParseDescriptors(raw)
	if err != nil {
		return 0, err
	}
	if _, ok := parsed.Configuration(d.info.Configuration); !ok && len(parsed.Configurations) > 0 {
		unselected = parsed.Configurations[0].Value
		d.info.Configuration = unselected
	}
	d.info.Descriptors = raw
	parsed.Describe(&d.info, d.info.Configuration)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.layout = newLayout(parsed, d.info.Configuration, d.info.Speed)
	return unselected, nil
}

// Info implements [usb.Device].
func (d *importedDevice) Info() usb.Info { return d.info }

// Gone implements [usb.Device].
func (d *importedDevice) Gone() <-chan struct{} { return d.gone }

// Close implements [usb.Device]. The server resets the device when the connection
// ends.
func (d *importedDevice) Close() error {
	d.end(usb.StatusShutdown)
	d.conn.Close()
	d.joined.Wait()
	return nil
}

// end makes further submissions fail with s. It returns the status of the first
// call.
func (d *importedDevice) end(s usb.Status) usb.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ending == usb.StatusOK {
		d.ending = s
		close(d.gone)
	}
	return d.ending
}

// Submit implements [usb.Device].
func (d *importedDevice) Submit(u *usb.URB) { u.Begin(d.enqueue) }

// enqueue sends an URB to the server. It refuses URBs that the device cannot run:
// a stock server does not answer them, or drops the device.
func (d *importedDevice) enqueue(u *usb.URB) usb.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, pending := d.byURB[u]
	interval, ok := d.layout.accepts(u)
	switch {
	case d.ending != usb.StatusOK:
		return d.ending
	case len(d.pending) >= usb.MaxPending:
		return usb.StatusNoMemory
	case pending, !ok:
		return usb.StatusInvalid
	case u.Endpoint.Number() == 0 && u.SetupPacket().Harmful():
		return usb.StatusStall
	}
	cmd := &wire.CmdSubmit{
		Header: wire.Header{DevID: d.devID, Endpoint: uint32(u.Endpoint.Number())},
		Flags:  uint32(u.Flags), Length: uint32(len(u.Data)),
		StartFrame: u.StartFrame, Interval: interval, Setup: setupOf(u),
	}
	if u.In() {
		cmd.Direction, cmd.Buffer = wire.In, u.Data
	} else {
		cmd.Data = u.Data
	}
	for _, p := range u.Packets {
		cmd.Packets = append(cmd.Packets, wire.IsoPacket{Offset: p.Offset, Length: p.Length})
	}
	cmd.Seq = d.next()
	d.pending[cmd.Seq], d.byURB[u] = &submission{cmd: cmd, urb: u}, cmd.Seq
	d.send(cmd)
	return usb.StatusOK
}

// send queues a command. It copies the data of an OUT: a server may complete the URB,
// whose submitter then owns its data again, before all of them were written.
func (d *importedDevice) send(cmd *wire.CmdSubmit) {
	if len(cmd.Data) == 0 || len(cmd.Packets) > 0 {
		d.out.put(cmd, nil, nil)
		cmd.Data = nil
		return
	}
	data := d.buffers.Get(len(cmd.Data))
	copy(data, cmd.Data)
	cmd.Data = nil
	d.out.put(cmd, data, func() { d.buffers.Put(data) })
}

// setupOf returns the setup packet of an URB. The kernel refuses a control IN whose
// wLength exceeds the buffer.
func setupOf(u *usb.URB) [8]byte {
	s := u.SetupPacket()
	if u.Endpoint.Number() != 0 || !u.In() || int(s.Length) <= len(u.Data) {
		return u.Setup
	}
	s.Length = uint16(len(u.Data))
	return s.Bytes()
}

// next returns the number of a new command, which is not 0. mu must be held.
func (d *importedDevice) next() uint32 {
	if d.seq++; d.seq == 0 {
		d.seq = 1
	}
	return d.seq
}

// Cancel implements [usb.Device].
func (d *importedDevice) Cancel(u *usb.URB) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seq, ok := d.byURB[u]
	if !ok || d.pending[seq].cancelled {
		return
	}
	d.pending[seq].cancelled = true
	m := &wire.CmdUnlink{Header: wire.Header{Seq: d.next(), DevID: d.devID}, Unlink: seq}
	d.unlinks[m.Seq] = seq
	d.out.put(m, nil, nil)
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
	status := d.end(usb.StatusNoDevice)
	d.mu.Lock()
	rest := d.pending
	d.pending, d.byURB = nil, nil
	d.mu.Unlock()
	for _, s := range rest {
		s.urb.Finish(status)
	}
}

// submitted returns the command with that number whose result may arrive, or nil.
func (d *importedDevice) submitted(seq uint32) *wire.CmdSubmit {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.pending[seq]; s != nil {
		return s.cmd
	}
	return d.late[seq]
}

// take removes the pending submission with that number and returns it, or nil. mu
// must be held.
func (d *importedDevice) take(seq uint32) *submission {
	s := d.pending[seq]
	if s != nil {
		delete(d.pending, seq)
		delete(d.byURB, s.urb)
	}
	return s
}

// finish completes an URB with the result m. It ignores the late result of a
// cancelled URB.
func (d *importedDevice) finish(m *wire.RetSubmit) {
	d.mu.Lock()
	s := d.take(m.Seq)
	if s == nil {
		delete(d.late, m.Seq)
		d.mu.Unlock()
		return
	}
	u := s.urb
	u.Status = d.layout.completed(u, usb.Status(m.Status))
	d.mu.Unlock()
	u.Actual, u.ErrorCount, u.StartFrame = int(m.Actual), m.ErrorCount, m.StartFrame
	if len(m.Packets) > 0 {
		copy(u.Data, m.Data)
	}
	for i, p := range m.Packets {
		u.Packets[i].Actual, u.Packets[i].Status = p.Actual, statusOrError(p.Status)
	}
	u.Done(u)
}

// statusOrError returns the status that a server reports. Only 0 and negative
// numbers are statuses of complete URBs.
func statusOrError(s int32) usb.Status {
	if s > 0 || usb.Status(s) == usb.StatusInProgress {
		return usb.StatusProtocol
	}
	return usb.Status(s)
}

// unlinked handles the reply to a cancellation. It ignores a reply without a
// command, as the kernel does. The kernel's server replies with the status with
// which the URB ended, after which no RetSubmit follows, or with 0 if it has queued
// the RetSubmit (drivers/usb/usbip/stub_rx.c, stub_recv_cmd_unlink). It sends what
// it has queued by kind, so the RetSubmit may also follow
// (drivers/usb/usbip/stub_tx.c, stub_tx_loop). Therefore the URB ends now, and the
// result is ignored if it follows.
func (d *importedDevice) unlinked(m *wire.RetUnlink) {
	d.mu.Lock()
	seq, ok := d.unlinks[m.Seq]
	delete(d.unlinks, m.Seq)
	var s *submission
	if ok {
		s = d.take(seq)
	}
	if s == nil { // too late to cancel: the RetSubmit of the URB has completed it
		d.mu.Unlock()
		return
	}
	s.cmd.Buffer = nil // belongs to the submitter again
	d.late[seq] = s.cmd
	if d.lateSeqs = append(d.lateSeqs, seq); len(d.lateSeqs) > maxLate {
		delete(d.late, d.lateSeqs[0])
		d.lateSeqs = d.lateSeqs[1:]
	}
	d.mu.Unlock()
	s.urb.Finish(usb.StatusReset)
}
