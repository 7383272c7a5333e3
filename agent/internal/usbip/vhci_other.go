//go:build !linux

package usbip

import (
	"net"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Find returns ErrNoVHCI: vhci_hcd is Linux's.
func (v *VHCI) Find() error { return ErrNoVHCI }

func (v *VHCI) attach(usb.Info) (int, net.Conn, error) { return 0, nil, ErrNoVHCI }

type patience struct{}

func (v *VHCI) listen() patience { return patience{} }

func (patience) follow(int) {}

func (patience) end() {}
