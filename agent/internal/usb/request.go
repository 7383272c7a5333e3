package usb

import "encoding/binary"

// Setup is a control request's setup packet (USB 2.0, 9.3).
type Setup struct {
	Type, Request        uint8
	Value, Index, Length uint16
}

// SetupPacket returns the setup packet of a control URB.
func (u *URB) SetupPacket() Setup {
	return Setup{
		Type: u.Setup[0], Request: u.Setup[1],
		Value:  binary.LittleEndian.Uint16(u.Setup[2:]),
		Index:  binary.LittleEndian.Uint16(u.Setup[4:]),
		Length: binary.LittleEndian.Uint16(u.Setup[6:]),
	}
}

// Bytes returns s as [URB.Setup] has it.
func (s Setup) Bytes() [8]byte {
	b := [8]byte{s.Type, s.Request}
	binary.LittleEndian.PutUint16(b[2:], s.Value)
	binary.LittleEndian.PutUint16(b[4:], s.Index)
	binary.LittleEndian.PutUint16(b[6:], s.Length)
	return b
}

// Change is what a control request does to the state that host and device
// share, so that a backend must do it rather than pass it on.
type Change uint8

// The changes.
const (
	NoChange         Change = iota
	SetConfiguration        // Setup.Value is the configuration
	SetInterface            // Setup.Index is the interface, Setup.Value the alternate setting
	ClearHalt               // Setup.Index is the endpoint
	PortReset               // as USB/IP asks for the reset of a device
)

// Change returns what s changes.
func (s Setup) Change() Change {
	switch {
	case s.Type == 0x00 && s.Request == 9:
		return SetConfiguration
	case s.Type == 0x01 && s.Request == 11:
		return SetInterface
	case s.Type == 0x02 && s.Request == 1 && s.Value == 0:
		return ClearHalt
	case s.Type == 0x23 && s.Request == 3 && s.Value == 4:
		return PortReset
	}
	return NoChange
}

// Harmful reports whether a control request would take the device away from
// its own host controller: SET_ADDRESS and SET_FEATURE(TEST_MODE). Hardware
// never gets to see these from afar.
func (s Setup) Harmful() bool {
	return s.Type == 0x00 && (s.Request == 5 || s.Request == 3 && s.Value == 2)
}

// Check returns StatusInvalid for an URB that breaks a bound or contradicts
// itself, so that no Device may run it, and StatusOK for any other. That
// the endpoint exists is for the Device to see.
func (u *URB) Check() Status {
	switch {
	case u.Endpoint&0x70 != 0,
		len(u.Data) > MaxTransfer,
		len(u.Packets) > MaxPackets,
		u.Endpoint.Number() == 0 && !u.In() && len(u.Data) < int(u.SetupPacket().Length),
		u.Endpoint.Number() == 0 && len(u.Packets) > 0:
		return StatusInvalid
	}
	end := uint64(0) // packets lie one after the other, perhaps with gaps
	for _, p := range u.Packets {
		if uint64(p.Offset) < end {
			return StatusInvalid
		}
		end = uint64(p.Offset) + uint64(p.Length)
	}
	if end > uint64(len(u.Data)) {
		return StatusInvalid
	}
	return StatusOK
}
