package guard

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// Role is the part that an URB has in an exchange of Bulk-Only Transport (USB
// Mass Storage Class, Bulk-Only Transport 1.0, section 5).
type Role uint8

// The roles, in the order in which they reach the device.
const (
	Command Role = 1 + iota // the command block wrapper
	Data                    // the data, if the command has any
	Status                  // the command status wrapper
)

// Mark makes an URB a part of an exchange. It travels in fields of the URB that
// have no meaning for bulk transfers: the four highest bits of Flags, which no
// kernel uses (URB_* in include/linux/usb.h), Interval and StartFrame.
type Mark struct {
	Role   Role
	Urgent bool   // the exchange may run before those that are not urgent
	Epoch  uint32 // see the package comment
	Number uint32 // of the exchange
}

const (
	flagMarked usb.Flags = 1 << 31
	flagUrgent usb.Flags = 1 << 30
	roleShift            = 28
	roleMask   usb.Flags = 3 << roleShift
	allFlags             = flagMarked | flagUrgent | roleMask
)

// Set marks u.
func (m Mark) Set(u *usb.URB) {
	u.Flags = u.Flags&^allFlags | flagMarked | usb.Flags(m.Role)<<roleShift
	if m.Urgent {
		u.Flags |= flagUrgent
	}
	u.Interval, u.StartFrame = int32(m.Epoch), int32(m.Number)
}

// MarkOf returns the mark of u. It returns false for an URB without a valid mark.
func MarkOf(u *usb.URB) (Mark, bool) {
	m := Mark{
		Role: Role(u.Flags & roleMask >> roleShift), Urgent: u.Flags&flagUrgent != 0,
		Epoch: uint32(u.Interval), Number: uint32(u.StartFrame),
	}
	valid := u.Flags&flagMarked != 0 && m.Role != 0 && u.Endpoint.Number() != 0 && len(u.Packets) == 0
	return m, valid && (u.Endpoint.In() && m.Role != Command || !u.Endpoint.In() && m.Role != Status)
}

// Clear removes the flags of a mark from u.
func Clear(u *usb.URB) { u.Flags &^= allFlags }
