package relay

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/pion/stun"
)

// Types of messages.
var (
	allocateSuccess       = stun.NewType(stun.MethodAllocate, stun.ClassSuccessResponse)
	refreshSuccess        = stun.NewType(stun.MethodRefresh, stun.ClassSuccessResponse)
	createPermissionError = stun.NewType(stun.MethodCreatePermission, stun.ClassErrorResponse)
	channelBindRequest    = stun.NewType(stun.MethodChannelBind, stun.ClassRequest)
	channelBindSuccess    = stun.NewType(stun.MethodChannelBind, stun.ClassSuccessResponse)
	dataIndication        = stun.NewType(stun.MethodData, stun.ClassIndication)
)

// Layout of messages.
const (
	stunHeader    = 20 // RFC 8489 section 5
	channelHeader = 4  // of channel data, and of an attribute: RFC 5766 section 11.4
	magicCookie   = 0x2112a442
	fourLength    = 8                    // of an attribute with an IPv4 address
	sixLength     = 20                   // of an attribute with an IPv6 address
	optional      = stun.AttrType(32768) // attributes from here on may be ignored: RFC 8489 section 14
)

// lengths holds the lengths that attributes must have. pion/stun and pion/turn read some of these attributes without
// checking the length, and the process would end.
var lengths = map[stun.AttrType][]int{
	stun.AttrChangeRequest:      {4},
	stun.AttrMessageIntegrity:   {20},
	stun.AttrChannelNumber:      {4},
	stun.AttrLifetime:           {4},
	stun.AttrXORPeerAddress:     {fourLength, sixLength},
	stun.AttrXORRelayedAddress:  {fourLength, sixLength},
	stun.AttrEvenPort:           {1},
	stun.AttrRequestedTransport: {4},
	stun.AttrXORMappedAddress:   {fourLength, sixLength}, // pion/stun reads 0x8020, of drafts of RFC 5389, as this one
	stun.AttrReservationToken:   {8},
	stun.AttrResponsePort:       {4},
	stun.AttrFingerprint:        {4},
}

// decode decodes p into m, whose attributes then share the memory of p. It reports false unless p is one whole STUN
// message, filled by its attributes, each of a length that it may have.
func decode(m *stun.Message, p []byte) bool {
	if len(p) < stunHeader || !isSTUN(p) || len(p)%4 != 0 || int(binary.BigEndian.Uint16(p[2:])) != len(p)-stunHeader ||
		binary.BigEndian.Uint32(p[4:]) != magicCookie {
		return false
	}
	m.Raw = p[:len(p):len(p)] // an attribute that is added later does not overwrite what follows p
	if m.Decode() != nil {
		return false
	}
	for _, a := range m.Attributes {
		if allowed, known := lengths[a.Type]; known && !slices.Contains(allowed, len(a.Value)) {
			return false
		}
	}
	return true
}

// value returns the value of the first attribute of a type, or nil.
func value(m *stun.Message, attr stun.AttrType) []byte {
	v, err := m.Get(attr)
	if err != nil {
		return nil
	}
	return v
}

// begin makes m an empty message of a type, with the transaction of another message.
func begin(m *stun.Message, kind stun.MessageType, transaction [stun.TransactionIDSize]byte) {
	m.Reset()
	m.Type, m.TransactionID = kind, transaction
	m.WriteHeader()
}

// add appends attributes to a message. Setters fail for addresses of an impossible length and for reasons that are too
// long, which do not occur here.
func add(m *stun.Message, setters ...stun.Setter) {
	for _, s := range setters {
		s.AddTo(m)
	}
}

// xorAddress is an attribute that holds an address XORed with the transaction (RFC 8489 section 14.2).
type xorAddress struct {
	attr    stun.AttrType
	address netip.AddrPort
}

// AddTo appends the attribute to a message.
func (a xorAddress) AddTo(m *stun.Message) error {
	x := stun.XORMappedAddress{IP: a.address.Addr().AsSlice(), Port: int(a.address.Port())}
	return x.AddToAs(m, a.attr)
}

// plainAddress is an attribute that holds an address as it is (RFC 8489 section 14.1).
type plainAddress struct {
	attr    stun.AttrType
	address netip.AddrPort
}

// AddTo appends the attribute to a message.
func (a plainAddress) AddTo(m *stun.Message) error {
	x := stun.MappedAddress{IP: a.address.Addr().AsSlice(), Port: int(a.address.Port())}
	return x.AddToAs(m, a.attr)
}

// readXORAddress returns the address in an attribute of a decoded message, or the zero AddrPort.
func readXORAddress(m *stun.Message, attr stun.AttrType) netip.AddrPort {
	var x stun.XORMappedAddress
	if x.GetFromAs(m, attr) != nil {
		return netip.AddrPort{}
	}
	ip, _ := netip.AddrFromSlice(x.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(x.Port))
}

// isSTUN reports whether p begins like a STUN message and not like channel data (RFC 8656 section 12).
func isSTUN(p []byte) bool { return len(p) > 0 && p[0]&0xc0 == 0 }

// isChannelData reports whether p is channel data of a possible length.
func isChannelData(p []byte) bool {
	return len(p) >= channelHeader && p[0]&0xc0 == 0x40 && int(binary.BigEndian.Uint16(p[2:])) <= len(p)-channelHeader
}

// isUnauthenticated reports whether p is an answer that every client gets, even without credentials: a Binding response
// or an error (RFC 8489 section 5).
func isUnauthenticated(p []byte) bool {
	if len(p) < 2 || !isSTUN(p) {
		return false
	}
	var kind stun.MessageType
	kind.ReadValue(binary.BigEndian.Uint16(p))
	return kind == stun.BindingSuccess || kind.Class == stun.ClassErrorResponse
}
