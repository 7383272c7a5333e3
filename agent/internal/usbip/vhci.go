package usbip

import (
	"context"
	"errors"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// ErrNoVHCI is the error where the kernel has no virtual host controller.
var ErrNoVHCI = errors.New("this kernel has no vhci_hcd: load it with `modprobe vhci_hcd` as root, or use the device with --endpoint and attach it with any USB/IP client")

// ErrNoPort is the error where every port of the controller is taken.
var ErrNoPort = errors.New("every port of vhci_hcd is in use: release another device first")

// VHCI is the kernel's virtual host controller: devices plugged into it appear
// on this machine as if they were here.
type VHCI struct {
	mu   sync.Mutex // one attach at a time, from choosing a port to taking it
	root string     // sysfs directory of the controller
}

// Plugged is a device in a port of the controller.
type Plugged struct {
	Port int // vhci port number, as in `usbip port`

	vhci   *VHCI
	unplug func()
	done   chan struct{}
	err    error
}

// Plug gives the kernel a device, and runs what the kernel's drivers submit on
// it until Unplug, or until the device is gone. It leaves dev open.
func (v *VHCI) Plug(dev usb.Device) (*Plugged, error) {
	port, conn, err := v.attach(dev.Info())
	if err != nil {
		return nil, err
	}
	p := &Plugged{Port: port, vhci: v, done: make(chan struct{}), unplug: func() { conn.Close() }}
	go func() {
		defer close(p.done)
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

// BusID waits for the kernel to number the device and returns its bus id here,
// such as "5-1", by which sysfs knows it.
func (p *Plugged) BusID(ctx context.Context) (string, error) { return p.vhci.busID(ctx, p.Port) }
