package session

import (
	"errors"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// The reasons of a Host to refuse a device that do not come from the device.
var (
	ErrDenied  = errors.New("the owner does not share the USB device with this peer")
	ErrChanged = errors.New("the USB device is not the one that was agreed to: its descriptors have changed")
	ErrLimit   = errors.New("too many USB devices are attached")
)

// AttachError is the refusal of a host. It wraps the error of package usb or of this package that its code stands for.
type AttachError struct {
	Device  string
	Code    tunnel.Code
	Message string // the host's words
}

// Error returns a sentence for a person.
func (e *AttachError) Error() string {
	return fmt.Sprintf("the host refuses device %s: %s", e.Device, e.Message)
}

// Unwrap returns the error that the code stands for, or nil.
func (e *AttachError) Unwrap() error {
	for _, r := range refusals {
		if r.code == e.Code {
			return r.err
		}
	}
	return nil
}

// EndedError is the reason why an attachment has ended.
type EndedError struct {
	Code   tunnel.Code // from the host; empty if the session was reset
	Reason string
}

// Error returns a sentence for a person.
func (e *EndedError) Error() string { return "the USB device was detached: " + e.Reason }

var refusals = []struct {
	code tunnel.Code
	err  error
}{
	{tunnel.CodeNotFound, usb.ErrNotFound},
	{tunnel.CodeDenied, ErrDenied},
	{tunnel.CodeInUse, usb.ErrInUse},
	{tunnel.CodePermission, usb.ErrPermission},
	{tunnel.CodeChanged, ErrChanged},
	{tunnel.CodeLimit, ErrLimit},
}

func codeOf(err error) tunnel.Code {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.code
		}
	}
	return tunnel.CodeFailed
}
