package usbip

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// ErrNoVHCI is returned if the kernel has no virtual host controller.
var ErrNoVHCI = errors.New("this kernel has no vhci_hcd: load it with `modprobe vhci_hcd` as root, " +
	"or use the device with --endpoint and attach it with any USB/IP client")

// ErrNoPort is returned if all ports of the controller are in use.
var ErrNoPort = errors.New("every port of vhci_hcd is in use: release another device first")

// VHCIConfig holds the parameters of NewVHCI.
type VHCIConfig struct {
	// ExtraTimeout is added to the kernel's timeouts for commands of a remote
	// disk. It is the time for which the link may be lost before the kernel resets
	// the disk. If it is 0, the kernel's timeouts do not change.
	ExtraTimeout time.Duration
	Logger       *slog.Logger
}

// VHCI is the kernel's virtual host controller, vhci_hcd. A device that is
// attached to it appears on this machine like a local one. An agent should have
// only one VHCI, because it remembers which ports it used last (see take).
// Methods may be called concurrently.
type VHCI struct {
	cfg VHCIConfig
	sys string // mount point of sysfs

	// Guarded by mu.
	mu       sync.Mutex
	attached int         // number of devices attached so far
	lastUse  map[int]int // by port: the value of attached when a device was attached there last
}

// NewVHCI returns a VHCI. It does not check whether the kernel has the
// controller: see Find.
func NewVHCI(c VHCIConfig) *VHCI {
	return &VHCI{cfg: c, sys: "/sys", lastUse: map[int]int{}}
}

// Attachment is a device that is attached to a port of the controller.
type Attachment struct {
	Port int // port number of vhci_hcd, as `usbip port` prints it

	closeConn func()
	done      chan struct{} // closed when the device is detached
	err       error         // set before done is closed
}

// Plug attaches dev to a free port. The kernel's drivers use the device until
// Unplug is called or dev is gone. The caller must close dev after that. Errors
// wrap ErrNoVHCI, ErrNoPort or the error of the kernel.
func (v *VHCI) Plug(dev usb.Device) (*Attachment, error) {
	disks := v.watchDisks()
	port, conn, err := v.attach(dev.Info())
	if err != nil {
		disks.stop()
		return nil, err
	}
	disks.start(port)
	a := &Attachment{Port: port, done: make(chan struct{}), closeConn: func() { conn.Close() }}
	go func() {
		defer close(a.done)
		defer disks.stop()
		a.err = Serve(conn, dev)
	}()
	return a, nil
}

// Done returns a channel that is closed when the device is detached.
func (a *Attachment) Done() <-chan struct{} { return a.done }

// Err returns the reason why the device was detached, or nil after Unplug and
// after the device was gone. It may be called only after Done is closed.
func (a *Attachment) Err() error { return a.err }

// Unplug detaches the device and waits until all its URBs are complete.
func (a *Attachment) Unplug() {
	a.closeConn()
	<-a.done
}
