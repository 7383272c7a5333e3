package virtual

import (
	"errors"
	"fmt"
	"io"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// BlockSize is the size of a disk's logical block in bytes.
const BlockSize = 512

// Store holds the blocks of a disk. An [Image] and an *os.File are Stores. A
// Disk uses its Store from one goroutine at a time. If the Store has a method
// Sync() error, the command SYNCHRONIZE CACHE calls it.
type Store interface {
	io.ReaderAt
	io.WriterAt
}

// DiskConfig describes a disk.
type DiskConfig struct {
	ID       string    // default "v-disk"
	Serial   string    // default "EF0000000001"; some drivers require 12 or more characters 0-9 A-F
	Speed    usb.Speed // SpeedHigh (default) or SpeedSuper
	Store    Store
	Size     int64 // bytes of Store in use; a multiple of BlockSize, at most 2 TiB
	ReadOnly bool  // the disk refuses writes, as with a write-protect switch
}

// The endpoints of a disk.
const (
	diskIn  usb.Endpoint = 0x81
	diskOut usb.Endpoint = 0x02
)

// Disk is a USB mass-storage device that runs SCSI commands over Bulk-Only
// Transport ("USB Mass Storage Class, Bulk-Only Transport", revision 1.0).
// Section numbers in this file and in bulkonly.go refer to that document.
// "Case n" is one of the thirteen cases of its section 6.7.
type Disk struct {
	// Constant after construction.
	about     description
	maxPacket int
	scsi      target

	// Owned by the goroutine that runs the opened device.
	port       port
	phase      phase
	task       task   // of the current command
	tag        uint32 // dCBWTag of the current command
	hostLeft   int64  // bytes that the computer still expects to transfer
	taskLeft   int64  // bytes that the task still has to transfer
	cswStatus  byte   // bCSWStatus of the current command
	needsReset bool   // a wrapper was invalid: both endpoints stall until a reset (6.6.1)
}

// NewDisk returns a disk. It fails if c is not valid.
func NewDisk(c DiskConfig) (*Disk, error) {
	if c.ID == "" {
		c.ID = "v-disk"
	}
	if c.Serial == "" {
		c.Serial = "EF0000000001"
	}
	if c.Speed == usb.SpeedUnknown {
		c.Speed = usb.SpeedHigh
	}
	switch {
	case c.Store == nil:
		return nil, errors.New("virtual disk: no store for its blocks")
	case c.Size < BlockSize || c.Size%BlockSize != 0 || c.Size > 1<<32*BlockSize:
		return nil, fmt.Errorf("virtual disk: the size of %d bytes is not a multiple of 512 up to 2 TiB", c.Size)
	case c.Speed != usb.SpeedHigh && c.Speed != usb.SpeedSuper:
		return nil, fmt.Errorf("virtual disk: speed %d is neither high speed nor SuperSpeed", c.Speed)
	}
	d := &Disk{
		maxPacket: 512,
		scsi:      target{store: c.Store, blocks: c.Size / BlockSize, readOnly: c.ReadOnly, serial: c.Serial},
		about: description{
			id: c.ID, speed: c.Speed, device: deviceDescriptor(c.Speed, productDisk),
			strings: []string{"EasyFind", "Virtual Disk", c.Serial},
		},
	}
	intf := interfaceDescriptor(2, 0x08, 0x06, 0x50) // mass storage, SCSI, bulk-only
	in := endpointDescriptor(diskIn, usb.Bulk, 512, 0)
	out := endpointDescriptor(diskOut, usb.Bulk, 512, 0)
	if c.Speed == usb.SpeedSuper {
		d.maxPacket = 1024
		in = append(endpointDescriptor(diskIn, usb.Bulk, 1024, 0), companion()...)
		out = append(endpointDescriptor(diskOut, usb.Bulk, 1024, 0), companion()...)
		d.about.bos = superSpeedBOS()
	}
	d.about.configuration = configurationDescriptor(100, intf, in, out)
	return d, nil
}

func (d *Disk) describe() description { return d.about }

func (d *Disk) attach(p port) { d.port = p }

func (d *Disk) reset() {
	d.scsi.reset()
	d.recover()
}

// recover runs the Bulk-Only Mass Storage Reset (3.1).
func (d *Disk) recover() {
	d.phase, d.needsReset = phaseCommand, false
}

func (d *Disk) control(s usb.Setup, _ []byte) ([]byte, bool) {
	switch {
	case s.Type == 0x21 && s.Request == 0xff && s.Value == 0 && s.Index == 0 && s.Length == 0:
		d.recover()
		return nil, true
	case s.Type == 0xa1 && s.Request == 0xfe && s.Value == 0 && s.Index == 0 && s.Length == 1:
		return []byte{0}, true // GET MAX LUN (3.2): logical unit 0 is the only one
	}
	return nil, false
}
