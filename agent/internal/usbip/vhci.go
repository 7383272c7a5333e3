package usbip

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// ErrNoVHCI is the error where the kernel has no virtual host controller.
var ErrNoVHCI = errors.New("this kernel has no vhci_hcd: load it with `modprobe vhci_hcd` as root, or use the device with --endpoint and attach it with any USB/IP client")

// ErrNoPort is the error where every port of the controller is taken.
var ErrNoPort = errors.New("every port of vhci_hcd is in use: release another device first")

// VHCIConfig says how the kernel is to treat far devices.
type VHCIConfig struct {
	// Patience is how long a far disk may not answer, besides the time that the
	// kernel gives to any disk, without being reset. 0: not at all.
	Patience time.Duration
	Logger   *slog.Logger
}

// VHCI is the kernel's virtual host controller: devices plugged into it appear
// on this machine as if they were here. One serves all uses of an agent: it
// knows which ports had a device lately.
type VHCI struct {
	cfg VHCIConfig
	sys string // where sysfs is mounted

	// Guarded by mu.
	mu    sync.Mutex
	taken int         // ports so far
	last  map[int]int // the value of taken when a port was taken last
}

// NewVHCI makes a VHCI, whether the kernel has the controller or not: see Find.
func NewVHCI(c VHCIConfig) *VHCI {
	return &VHCI{cfg: c, sys: "/sys", last: map[int]int{}}
}

// Plugged is a device in a port of the controller.
type Plugged struct {
	Port int // vhci port number, as in `usbip port`

	unplug func()
	done   chan struct{}
	err    error
}

// Plug gives the kernel a device, and runs what the kernel's drivers submit on
// it until Unplug, or until the device is gone. It leaves dev open.
func (v *VHCI) Plug(dev usb.Device) (*Plugged, error) {
	disks := v.listen()
	port, conn, err := v.attach(dev.Info())
	if err != nil {
		disks.end()
		return nil, err
	}
	disks.follow(port)
	p := &Plugged{Port: port, done: make(chan struct{}), unplug: func() { conn.Close() }}
	go func() {
		defer close(p.done)
		defer disks.end()
		p.err = Serve(conn, dev)
	}()
	return p, nil
}

// Done is closed when the device is no longer plugged in.
func (p *Plugged) Done() <-chan struct{} { return p.done }

// Err returns why it ended, nil for an unplug; only after Done.
func (p *Plugged) Err() error { return p.err }

// Unplug takes the device out and waits until nothing of it runs.
func (p *Plugged) Unplug() {
	p.unplug()
	<-p.done
}
