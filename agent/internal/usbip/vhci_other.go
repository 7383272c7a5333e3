//go:build !linux

package usbip

import (
	"context"
	"net"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// OpenVHCI returns ErrNoVHCI: vhci_hcd is Linux's.
func OpenVHCI() (*VHCI, error) { return nil, ErrNoVHCI }

func (v *VHCI) attach(usb.Info) (int, net.Conn, error) { return 0, nil, ErrNoVHCI }

func (v *VHCI) busID(context.Context, int) (string, error) { return "", ErrNoVHCI }
