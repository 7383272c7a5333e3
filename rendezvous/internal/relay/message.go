package relay

import (
	"crypto/hmac"
	"crypto/sha1" // what RFC 8489 section 14.5 asks for
	"encoding/binary"
	"hash/crc32"
	"iter"
	"net/netip"
)

// Types of messages (RFC 8489 section 5, RFC 5766 section 13).
const (
	bindingRequest        = 0x0001
	bindingSuccess        = 0x0101
	bindingError          = 0x0111
	allocateSuccess       = 0x0103
	allocateError         = 0x0113
	refreshSuccess        = 0x0104
	createPermissionError = 0x0118
	channelBindRequest    = 0x0009
	channelBindSuccess    = 0x0109
	channelBindError      = 0x0119
	dataIndication        = 0x0017
	classMask             = 0x0110 // of a message's type
	classError            = 0x0110
)

// Types of attributes.
const (
	attrChangeRequest    = 0x0003 // RFC 5780 section 7.2
	attrMessageIntegrity = 0x0008
	attrErrorCode        = 0x0009
	attrUnknown          = 0x000a
	attrChannelNumber    = 0x000c
	attrLifetime         = 0x000d
	attrData             = 0x0013
	attrXORPeerAddress   = 0x0012
	attrXORRelayed       = 0x0016
	attrEvenPort         = 0x0018
	attrTransport        = 0x0019
	attrXORMapped        = 0x0020
	attrReservation      = 0x0022
	attrPadding          = 0x0026 // RFC 5780 section 7.6
	attrResponsePort     = 0x0027 // RFC 5780 section 7.5
	attrXORMappedOld     = 0x8020 // of drafts of RFC 5389
	attrFingerprint      = 0x8028
	attrResponseOrigin   = 0x802b // RFC 5780 section 7.3
	attrOtherAddress     = 0x802c // RFC 5780 section 7.4
	optional             = 0x8000 // attributes from here on may be ignored
)

// Layout and bounds of messages.
const (
	stunHeader    = 20 // RFC 8489 section 5
	channelHeader = 4  // RFC 5766 section 11.4
	magicCookie   = 0x2112a442
	fourLength    = 8  // of an attribute with an IPv4 address
	sixLength     = 20 // with an IPv6 address
	integrity     = 20
)

// lengths are those that attributes must have. The STUN library takes the
// length of some for granted, and ends the process where it is another.
var lengths = map[uint16][]int{
	attrChangeRequest:    {4},
	attrMessageIntegrity: {integrity},
	attrChannelNumber:    {4},
	attrLifetime:         {4},
	attrXORPeerAddress:   {fourLength, sixLength},
	attrXORRelayed:       {fourLength, sixLength},
	attrEvenPort:         {1},
	attrTransport:        {4},
	attrXORMapped:        {fourLength, sixLength},
	attrXORMappedOld:     {fourLength, sixLength},
	attrReservation:      {8},
	attrResponsePort:     {4},
	attrFingerprint:      {4},
}

// message is a STUN message.
type message []byte

// newMessage begins a message of a type with the transaction of another.
func newMessage(kind uint16, of message) message {
	m := make(message, stunHeader, 256)
	binary.BigEndian.PutUint16(m, kind)
	copy(m[4:], of[4:stunHeader])
	return m
}

func (m message) kind() uint16 { return binary.BigEndian.Uint16(m) }

// add appends an attribute.
func (m message) add(attr uint16, value []byte) message {
	m = binary.BigEndian.AppendUint16(m, attr)
	m = binary.BigEndian.AppendUint16(m, uint16(len(value)))
	m = append(m, value...)
	m = append(m, make([]byte, -len(value)&3)...)
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)-stunHeader))
	return m
}

// addAddress appends an address, as it is (RFC 8489 section 14.1).
func (m message) addAddress(attr uint16, a netip.AddrPort) message {
	ip, family := a.Addr().Unmap(), byte(1)
	if ip.Is6() {
		family = 2
	}
	value := binary.BigEndian.AppendUint16([]byte{0, family}, a.Port())
	return m.add(attr, append(value, ip.AsSlice()...))
}

// addXORAddress appends an address that no router mistakes for one to translate
// (RFC 8489 section 14.2).
func (m message) addXORAddress(attr uint16, a netip.AddrPort) message {
	begin := len(m) + channelHeader
	m = m.addAddress(attr, a)
	value := m[begin:]
	for i := range 2 {
		value[2+i] ^= m[4+i]
	}
	for i := range value[4:] {
		value[4+i] ^= m[4+i]
	}
	return m
}

// xorAddress reads what addXORAddress wrote, from the value of an attribute of a
// message that is wellFormed.
func (m message) xorAddress(value []byte) netip.AddrPort {
	if len(value) != fourLength && len(value) != sixLength {
		return netip.AddrPort{}
	}
	var ip [16]byte
	n := copy(ip[:], value[4:])
	for i := range n {
		ip[i] ^= m[4+i]
	}
	port := binary.BigEndian.Uint16(value[2:]) ^ binary.BigEndian.Uint16(m[4:])
	if n == 4 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(ip).Unmap(), port)
}

// addError appends an error's code and its name.
func (m message) addError(code int, reason string) message {
	return m.add(attrErrorCode, append([]byte{0, 0, byte(code / 100), byte(code % 100)}, reason...))
}

// addIntegrity appends the MAC of the message so far.
func (m message) addIntegrity(key []byte) message {
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)-stunHeader+channelHeader+integrity))
	mac := hmac.New(sha1.New, key)
	mac.Write(m)
	return m.add(attrMessageIntegrity, mac.Sum(nil))
}

// addFingerprint appends the CRC of the message so far.
func (m message) addFingerprint() message {
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)-stunHeader+channelHeader+4))
	return m.add(attrFingerprint, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(m)^0x5354554e))
}

// attributes are those of a message that is wellFormed.
func (m message) attributes() iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for rest := m[stunHeader:]; len(rest) >= channelHeader; {
			attr, length := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
			padded := channelHeader + length + -length&3
			if padded > len(rest) {
				return
			}
			if !yield(attr, rest[channelHeader:][:length]) {
				return
			}
			rest = rest[padded:]
		}
	}
}

// find returns the first attribute of a type, or nil.
func (m message) find(attr uint16) []byte {
	for a, value := range m.attributes() {
		if a == attr {
			return value
		}
	}
	return nil
}

// isSTUN tells STUN messages from channel data (RFC 8656 section 12).
func isSTUN(p []byte) bool { return len(p) > 0 && p[0]&0xc0 == 0 }

// isChannelData reports whether p is channel data of a possible length.
func isChannelData(p []byte) bool {
	return len(p) >= channelHeader && p[0]&0xc0 == 0x40 && int(binary.BigEndian.Uint16(p[2:])) <= len(p)-channelHeader
}

// wellFormed reports whether p is a STUN message whose attributes fill it, each
// of a length that it may have.
func wellFormed(p []byte) bool {
	if len(p) < stunHeader || !isSTUN(p) || len(p)%4 != 0 || int(binary.BigEndian.Uint16(p[2:])) != len(p)-stunHeader ||
		binary.BigEndian.Uint32(p[4:]) != magicCookie {
		return false
	}
	for rest := p[stunHeader:]; len(rest) > 0; {
		if len(rest) < channelHeader {
			return false
		}
		attr, length := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := channelHeader + length + -length&3
		if padded > len(rest) || !possible(attr, length) {
			return false
		}
		rest = rest[padded:]
	}
	return true
}

func possible(attr uint16, length int) bool {
	allowed, known := lengths[attr]
	if !known {
		return true
	}
	for _, n := range allowed {
		if n == length {
			return true
		}
	}
	return false
}
