package guard

import (
	"encoding/binary"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Lengths and signatures of the wrappers (5.1, 5.2).
const (
	commandLength    = 31
	commandSignature = 0x43425355
	statusLength     = 13
	statusSignature  = 0x53425355
)

// exchange is one command of Bulk-Only Transport: the URBs that have arrived and
// are not with the backend, and how far the device is.
type exchange struct {
	number  uint32
	urgent  bool
	dropped bool // the client cancelled it before it began

	command *entry
	data    []*entry
	status  *entry

	started  bool   // the backend has or had the command
	accepted bool   // the device has taken the command
	tag      uint32 // dCBWTag
	length   uint32 // dCBWDataTransferLength
	left     int64  // bytes of the data phase that no URB was handed over for
}

// add adds an URB that has arrived. It returns false for a second command or
// status.
func (x *exchange) add(e *entry) bool {
	switch e.mark.Role {
	case Command:
		if x.command != nil || x.started {
			return false
		}
		x.command, x.urgent = e, e.mark.Urgent
	case Data:
		x.data = append(x.data, e)
	case Status:
		if x.status != nil {
			return false
		}
		x.status = e
	}
	return true
}

// take removes and returns the URB that the device gets next, or nil if it has not
// arrived.
func (x *exchange) take() *entry {
	var e *entry
	switch {
	case !x.started:
		e, x.command, x.started = x.command, nil, true
	case !x.accepted:
	case x.left > 0:
		if len(x.data) > 0 {
			e, x.data = x.data[0], x.data[1:]
			x.left -= int64(len(e.urb.Data))
		}
	default:
		e, x.status = x.status, nil
	}
	return e
}

// outcome is the effect of a completion on its exchange.
type outcome uint8

const (
	goesOn outcome = iota
	isGood         // the device has finished the command without an error
	isBad          // the client must decide what comes next
)

// result handles the completion of an URB.
func (x *exchange) result(e *entry) outcome {
	u := &e.sent
	if u.Status != usb.StatusOK {
		return isBad
	}
	switch e.mark.Role {
	case Command:
		if len(u.Data) != commandLength || u.Actual != commandLength ||
			binary.LittleEndian.Uint32(u.Data) != commandSignature {
			return isBad
		}
		x.accepted = true
		x.tag = binary.LittleEndian.Uint32(u.Data[4:])
		x.length = binary.LittleEndian.Uint32(u.Data[8:])
		x.left = int64(x.length)
	case Data:
		if u.Actual < len(u.Data) {
			x.left = 0 // a short packet has ended the data phase
		}
	case Status:
		good := u.Actual == statusLength && binary.LittleEndian.Uint32(u.Data) == statusSignature &&
			binary.LittleEndian.Uint32(u.Data[4:]) == x.tag && u.Data[12] == 0 &&
			binary.LittleEndian.Uint32(u.Data[8:]) <= x.length
		if !good {
			return isBad
		}
		return isGood
	}
	return goesOn
}
