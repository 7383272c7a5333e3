//go:build !linux

package usbip

import (
	"net"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Find returns ErrNoVHCI: only Linux has vhci_hcd.
func (v *VHCI) Find() error { return ErrNoVHCI }

func (v *VHCI) attach(usb.Info) (int, net.Conn, error) { return 0, nil, ErrNoVHCI }

type diskTimeouts struct{}

func (v *VHCI) watchDisks() diskTimeouts { return diskTimeouts{} }

func (diskTimeouts) start(int) {}

func (diskTimeouts) stop() {}
