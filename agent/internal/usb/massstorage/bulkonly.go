package massstorage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Command is a SCSI command. At most one of Out and In may be non-empty.
type Command struct {
	Block []byte // command descriptor block, 1 to 16 bytes
	Out   []byte // data to send, at most usb.MaxTransfer bytes
	In    []byte // buffer for data to receive, at most usb.MaxTransfer bytes
}

// Sense keys (SPC-4, table 48).
const (
	keyNotReady      = 2
	keyUnitAttention = 6
)

// SenseError is the reason why a disk failed a command: sense key, additional
// sense code and its qualifier (SPC-4, 4.5.3).
type SenseError struct{ Key, Code, Qualifier uint8 }

func (e *SenseError) Error() string {
	names := [16]string{
		"no sense", "recovered", "not ready", "medium error", "hardware error", "illegal request", "unit attention",
		"data protect", "blank", "vendor specific", "copy aborted", "aborted", "reserved", "overflow", "miscompare",
		"completed",
	}
	return fmt.Sprintf("the disk reports %s (%02x/%02x)", names[e.Key&0x0f], e.Code, e.Qualifier)
}

// errProtocol is returned for a status wrapper that violates the protocol.
var errProtocol = errors.New("the disk broke the Bulk-Only Transport protocol")

// Do runs a command and returns the number of bytes transferred in its data
// phase. If the disk fails the command, the error is a *SenseError; if an URB
// fails, it wraps a *StatusError. After [Config.Timeout] it wraps
// context.DeadlineExceeded.
func (d *Disk) Do(ctx context.Context, c Command) (int, error) {
	if len(c.Block) < 1 || len(c.Block) > 16 || len(c.In) > 0 && len(c.Out) > 0 {
		return 0, errors.New("SCSI command: it must have 1 to 16 bytes and data in at most one direction")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, failed, err := d.transport(ctx, c)
	if err != nil || !failed {
		return n, err
	}
	b := make([]byte, 18)
	n, failed, err = d.transport(ctx, Command{Block: []byte{0x03, 0, 0, 0, byte(len(b)), 0}, In: b})
	switch {
	case err != nil:
		return 0, fmt.Errorf("request sense: %w", err)
	case failed || n < 14:
		return 0, fmt.Errorf("request sense: %w", errProtocol)
	}
	return 0, &SenseError{Key: b[2] & 0x0f, Code: b[12], Qualifier: b[13]}
}

// transport runs a command. If the disk fails it, transport sets failed and does
// not fetch the sense data.
func (d *Disk) transport(ctx context.Context, c Command) (moved int, failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if d.needsReset {
		if err := d.recover(ctx); err != nil {
			return 0, false, err
		}
	}
	d.needsReset = true // cleared below if the status wrapper is valid
	d.tag++
	steps := d.urbs(c)
	if err := d.exchange(ctx, steps); err != nil {
		return 0, false, fmt.Errorf("SCSI command %#02x: %w", c.Block[0], err)
	}
	moved, failed, err = d.checkStatus(len(c.In)+len(c.Out), steps[len(steps)-1])
	if err != nil {
		return 0, false, fmt.Errorf("SCSI command %#02x: %w", c.Block[0], err)
	}
	d.needsReset = false
	return moved, failed, nil
}

// exchange runs the transfers of a command one after the other. Some devices
// fail if the transfer for the status is submitted before the data are
// complete. On success the last URB holds the status wrapper.
func (d *Disk) exchange(ctx context.Context, steps []*usb.URB) error {
	last := len(steps) - 1
	for i, u := range steps[:last] {
		s := usb.Do(ctx, d.device, u)
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case s == usb.StatusOK:
		case s == usb.StatusStall && i > 0:
			if err := d.clearHalt(ctx, u.Endpoint); err != nil {
				return err
			}
		default:
			return &StatusError{s}
		}
	}
	return d.status(ctx, usb.Do(ctx, d.device, steps[last]), steps[last])
}

// status handles the result s of the transfer u for the status wrapper. After a
// stall it clears the halt and repeats the transfer once (5.3.3).
func (d *Disk) status(ctx context.Context, s usb.Status, u *usb.URB) error {
	if s == usb.StatusStall {
		if err := d.clearHalt(ctx, d.in); err != nil {
			return err
		}
		s = usb.Do(ctx, d.device, u)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s != usb.StatusOK {
		return &StatusError{s}
	}
	return nil
}

// urbs returns the transfers of a command: command wrapper, data if any, status
// wrapper.
func (d *Disk) urbs(c Command) []*usb.URB {
	wrapper := make([]byte, 31)
	copy(wrapper, "USBC")
	binary.LittleEndian.PutUint32(wrapper[4:], d.tag)
	binary.LittleEndian.PutUint32(wrapper[8:], uint32(len(c.In)+len(c.Out)))
	wrapper[14] = byte(len(c.Block))
	copy(wrapper[15:], c.Block)
	steps := []*usb.URB{{Endpoint: d.out, Data: wrapper}}
	switch {
	case len(c.In) > 0:
		wrapper[12] = 0x80
		steps = append(steps, &usb.URB{Endpoint: d.in, Data: c.In})
	case len(c.Out) > 0:
		steps = append(steps, &usb.URB{Endpoint: d.out, Data: c.Out})
	}
	return append(steps, &usb.URB{Endpoint: d.in, Data: make([]byte, 13)})
}

// checkStatus parses the status wrapper in u. requested is the number of bytes
// that the command announced; moved is the number of bytes transferred.
func (d *Disk) checkStatus(requested int, u *usb.URB) (moved int, failed bool, err error) {
	b := u.Data[:u.Actual]
	if len(b) != 13 || string(b[:4]) != "USBS" || binary.LittleEndian.Uint32(b[4:]) != d.tag || b[12] > 1 {
		return 0, false, errProtocol
	}
	residue := binary.LittleEndian.Uint32(b[8:])
	return requested - int(min(uint64(residue), uint64(requested))), b[12] == 1, nil
}

// recover runs the Reset Recovery (5.3.4).
func (d *Disk) recover(ctx context.Context) error {
	reset := usb.Setup{Type: 0x21, Request: 0xff, Index: uint16(d.number)}
	if s := usb.Do(ctx, d.device, &usb.URB{Setup: reset.Bytes()}); s != usb.StatusOK {
		return fmt.Errorf("reset of the disk: %w", &StatusError{s})
	}
	for _, e := range []usb.Endpoint{d.in, d.out} {
		if err := d.clearHalt(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *Disk) clearHalt(ctx context.Context, e usb.Endpoint) error {
	clearFeature := usb.Setup{Type: 0x02, Request: 1, Index: uint16(e)}
	if s := usb.Do(ctx, d.device, &usb.URB{Setup: clearFeature.Bytes()}); s != usb.StatusOK {
		return fmt.Errorf("clearing the halt of endpoint %#02x: %w", uint8(e), &StatusError{s})
	}
	return nil
}

// StatusError is the status of an URB that failed.
type StatusError struct{ Status usb.Status }

func (e *StatusError) Error() string {
	switch e.Status {
	case usb.StatusNoDevice, usb.StatusShutdown:
		return "the device is gone"
	case usb.StatusStall:
		return "the device refuses the request (stall)"
	case usb.StatusReset, usb.StatusNoEntry:
		return "cancelled"
	}
	return fmt.Sprintf("transfer failed with USB status %d", e.Status)
}
