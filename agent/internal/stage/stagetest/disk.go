package stagetest

import (
	"slices"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/outbox"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Endpoints of a Disk.
const (
	DiskIn  usb.Endpoint = 0x81
	DiskOut usb.Endpoint = 0x02
)

// Fault is a way in which a disk misbehaves.
type Fault uint8

// The faults.
const (
	NoFault     Fault = iota
	FailStall         // the command fails; the data endpoint halts at once (6.7.2, case 4)
	FailEmpty         // the command fails with an empty packet instead of data
	FailMiddle        // the command fails after half of its data, with a halt
	WrongTag          // in the status wrapper
	WrongSign         // signature of the status wrapper
	PhaseError        // bCSWStatus 2
	WrongLength       // the residue exceeds the length
	ShortData         // half of the data, with a residue and a good status
	Endless           // data after the end of the data
	StallStatus       // the endpoint halts once instead of the status
	Hang              // the data never come
	Faults            // number of faults
)

// DiskConfig describes a Disk.
type DiskConfig struct {
	Units     int // 1 to 16
	BlockSize uint32
	Blocks    uint64
	MaxPacket int
	ReadOnly  bool
	Type      byte   // peripheral device type
	Modes     []byte // mode pages after the header; nil: the disk knows no MODE SENSE
	DPOFUA    bool   // in the mode parameter header
	NoSync    bool   // the disk knows no SYNCHRONIZE CACHE
	Pages     bool   // it knows vital product data, REPORT LUNS, UNMAP and a vendor command
	Halts     bool   // its IN endpoint halts after data that are shorter than expected (6.7.2, case 5)
	Differs   bool   // each READ returns other data; each block repeats 16 bytes of which the first is its number
	// Fault returns how a READ or WRITE of blocks misbehaves. It may be called at any time on any
	// goroutine.
	Fault func(op byte, unit uint8, first, count uint64) Fault
}

// Disk is a disk with Bulk-Only Transport. It answers every URB at once.
type Disk struct {
	medium
	box *outbox.Outbox

	mu         sync.Mutex
	gone       chan struct{}
	ended      usb.Status
	ins, outs  []*usb.URB
	halted     map[usb.Endpoint]bool
	needsReset bool
	sense      map[uint8][3]byte
	attention  map[uint8]bool
	ejected    map[uint8]bool

	state    state
	wrapper  []byte
	data     []byte // for the computer, what is left
	isShort  bool   // data end with a short packet
	room     int64  // bytes that the computer still sends
	received []byte
	status   byte
	residue  uint32
	fault    Fault
	commands int
	early    int // command wrappers that came before the status was fetched
}

type place struct {
	unit  uint8
	block uint64
}

type state uint8

const (
	stateCommand state = iota
	stateIn
	stateOut
	stateStatus
)

// NewDisk returns an opened disk.
func NewDisk(cfg DiskConfig) *Disk {
	d := &Disk{
		medium: newMedium(cfg),
		gone:   make(chan struct{}), halted: map[usb.Endpoint]bool{},
		sense: map[uint8][3]byte{}, attention: map[uint8]bool{}, ejected: map[uint8]bool{},
	}
	d.box = outbox.New(nil)
	return d
}

// Info implements [usb.Device].
func (d *Disk) Info() usb.Info {
	packet := uint16(d.cfg.MaxPacket)
	b := []byte{
		18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 9, 0, 0, 1, 0, 0, 0, 1,
		9, 2, 32, 0, 1, 1, 0, 0x80, 50,
		9, 4, 0, 0, 2, 8, 6, 0x50, 0,
		7, 5, byte(DiskIn), 2, byte(packet), byte(packet >> 8), 0,
		7, 5, byte(DiskOut), 2, byte(packet), byte(packet >> 8), 0,
	}
	info := usb.Info{ID: "t-disk", Speed: usb.SpeedHigh, Descriptors: b}
	p, err := usb.ParseDescriptors(b)
	if err != nil {
		panic(err)
	}
	p.Describe(&info, 1)
	return info
}

// Gone implements [usb.Device].
func (d *Disk) Gone() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone
}

// Early returns the number of command wrappers that came before the status of the
// previous command was fetched.
func (d *Disk) Early() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.early
}

// Commands returns the number of commands.
func (d *Disk) Commands() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.commands
}

// ChangeMedium replaces the medium of a unit: all blocks have other data, and the
// next command fails with a unit attention (28h).
func (d *Disk) ChangeMedium(unit uint8) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version[unit]++
	d.attention[unit] = true
	delete(d.ejected, unit)
	for p := range d.written {
		if p.unit == unit {
			delete(d.written, p)
			delete(d.stable, p)
		}
	}
}

// Eject takes the medium out of a unit of d. ChangeMedium inserts another one.
func Eject(d *Disk, unit uint8) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ejected[unit] = true
}

// Block returns the data of a block.
func (d *Disk) Block(unit uint8, block uint64) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.block(unit, block)
}

// Submit implements [usb.Device].
func (d *Disk) Submit(u *usb.URB) {
	u.Actual = 0
	if s := u.Check(); s != usb.StatusOK {
		u.Finish(s)
		return
	}
	d.mu.Lock()
	switch {
	case d.ended != usb.StatusOK:
		d.box.Finish(u, d.ended)
	case u.Endpoint.Number() == 0:
		d.control(u)
	case u.Endpoint == DiskIn:
		d.ins = append(d.ins, u)
	case u.Endpoint == DiskOut:
		if d.state != stateCommand && len(u.Data) == 31 && string(u.Data[:4]) == "USBC" {
			d.early++
		}
		d.outs = append(d.outs, u)
	default:
		d.box.Finish(u, usb.StatusInvalid)
	}
	d.run()
	d.mu.Unlock()
	d.box.Run()
}

// Cancel implements [usb.Device].
func (d *Disk) Cancel(u *usb.URB) {
	d.mu.Lock()
	for _, q := range []*[]*usb.URB{&d.ins, &d.outs} {
		if i := slices.Index(*q, u); i >= 0 {
			*q = slices.Delete(*q, i, i+1)
			d.box.Finish(u, usb.StatusReset)
		}
	}
	d.mu.Unlock()
	d.box.Run()
}

// Unplug ends the device.
func (d *Disk) Unplug() { d.end(usb.StatusNoDevice) }

// Close implements [usb.Device].
func (d *Disk) Close() error {
	d.end(usb.StatusShutdown)
	return nil
}

func (d *Disk) end(s usb.Status) {
	d.mu.Lock()
	if d.ended == usb.StatusOK {
		d.ended = s
		close(d.gone)
		for _, u := range slices.Concat(d.ins, d.outs) {
			d.box.Finish(u, s)
		}
		d.ins, d.outs = nil, nil
	}
	d.mu.Unlock()
	d.box.Drain()
}

func (d *Disk) control(u *usb.URB) {
	s := u.SetupPacket()
	switch {
	case s.Change() == usb.ClearHalt:
		delete(d.halted, usb.Endpoint(s.Index))
	case s.Change() != usb.NoChange:
		clear(d.halted)
		d.recover()
	case s.Type == 0x21 && s.Request == 0xff:
		d.recover()
	case s.Type == 0xa1 && s.Request == 0xfe:
		u.Actual = copy(u.Data, []byte{byte(d.cfg.Units - 1)})
	default:
		d.box.Finish(u, usb.StatusStall)
		return
	}
	d.box.Finish(u, usb.StatusOK)
}

func (d *Disk) recover() {
	d.needsReset, d.state, d.data = false, stateCommand, nil
	d.fault = NoFault
}
