package usb

import "encoding/binary"

// Setup is the setup packet of a control request (USB 2.0, 9.3).
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

// Bytes returns s in the encoding of [URB.Setup].
func (s Setup) Bytes() [8]byte {
	b := [8]byte{s.Type, s.Request}
	binary.LittleEndian.PutUint16(b[2:], s.Value)
	binary.LittleEndian.PutUint16(b[4:], s.Index)
	binary.LittleEndian.PutUint16(b[6:], s.Length)
	return b
}

// Change classifies control requests that change state which the operating
// system and the device share. A backend must perform these itself, by the
// operating system's interface, and must not send them to the device.
type Change uint8

// The changes.
const (
	NoChange         Change = iota
	SetConfiguration        // Setup.Value is the configuration
	SetInterface            // Setup.Index is the interface, Setup.Value the alternate setting
	ClearHalt               // Setup.Index is the endpoint
	PortReset               // USB/IP's request to reset the device
)

// Change returns the change that s makes.
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

// Harmful reports whether the request would make the device unreachable for its
// own host controller: SET_ADDRESS and SET_FEATURE(TEST_MODE). Backends answer
// these with a stall and never send them to hardware.
func (s Setup) Harmful() bool {
	return s.Type == 0x00 && (s.Request == 5 || s.Request == 3 && s.Value == 2)
}

// Check returns StatusInvalid if the URB exceeds a bound or is inconsistent,
// otherwise StatusOK. No Device may run an invalid URB. Check does not know
// which endpoints exist: the Device checks that.
func (u *URB) Check() Status {
	switch {
	case u.Endpoint&0x70 != 0,
		len(u.Data) > MaxTransfer,
		len(u.Packets) > MaxPackets,
		u.Endpoint.Number() == 0 && !u.In() && len(u.Data) < int(u.SetupPacket().Length),
		u.Endpoint.Number() == 0 && len(u.Packets) > 0:
		return StatusInvalid
	}
	end := uint64(0) // packets must be in ascending order; gaps are allowed
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
