package relay

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/pion/stun"
)

// Bits of CHANGE-REQUEST (RFC 5780 section 7.2).
const (
	changeIP   = 0x04
	changePort = 0x02
)

// maxUnknown is the number of unknown attributes that an answer names.
const maxUnknown = 4

// discovery lets a client find out how its NAT behaves (RFC 5780). It needs the same two ports at two addresses. A nil
// discovery belongs to a server that has one address only.
type discovery struct {
	sockets [2][2]*net.UDPConn // by address and port
	public  [2]netip.Addr      // the addresses as clients reach them
	ports   [2]uint16
}

// place identifies one of the sockets of a discovery.
type place struct{ ip, port int }

func (d *discovery) at(p place) netip.AddrPort {
	return netip.AddrPortFrom(d.public[p.ip], d.ports[p.port])
}

// opposite returns the place whose address and port both differ.
func (p place) opposite() place { return place{1 - p.ip, 1 - p.port} }

// bindingAnswer is the answer to a Binding request.
type bindingAnswer struct {
	message stun.Message
	to      netip.AddrPort
	from    place // the socket that sends it, if there is a discovery
}

// answer answers a Binding request that a client has sent to a place. Answers are not much longer than requests, so
// that an attacker who forges the address of the client gains little.
func (d *discovery) answer(request *stun.Message, client netip.AddrPort, at place) *bindingAnswer {
	r := &bindingAnswer{to: client, from: at}
	var unknown []byte
	fingerprint, pad := false, false
	for _, a := range request.Attributes {
		switch {
		case a.Type == stun.AttrFingerprint:
			fingerprint = true
		case a.Type == stun.AttrChangeRequest && d != nil:
			flags := binary.BigEndian.Uint32(a.Value)
			if flags&changeIP != 0 {
				r.from.ip = 1 - at.ip
			}
			if flags&changePort != 0 {
				r.from.port = 1 - at.port
			}
		case a.Type == stun.AttrResponsePort && d != nil:
			r.to = netip.AddrPortFrom(client.Addr(), binary.BigEndian.Uint16(a.Value))
		case a.Type == stun.AttrPadding && d != nil:
			pad = true
		case ofDiscovery[a.Type] || a.Type < optional && !ignored[a.Type]:
			unknown = binary.BigEndian.AppendUint16(unknown, uint16(a.Type))
		}
	}
	m := &r.message
	if unknown != nil {
		r.to, r.from = client, at
		begin(m, stun.BindingError, request.TransactionID)
		add(m, stun.CodeUnknownAttribute)
		// Two bytes for each attribute (RFC 8489 section 14.13); stun.UnknownAttributes writes four.
		m.Add(stun.AttrUnknownAttributes, unknown[:min(len(unknown), 2*maxUnknown)])
	} else {
		begin(m, stun.BindingSuccess, request.TransactionID)
		add(m, xorAddress{stun.AttrXORMappedAddress, client})
		if d != nil {
			add(m, plainAddress{stun.AttrResponseOrigin, d.at(r.from)},
				plainAddress{stun.AttrOtherAddress, d.at(at.opposite())})
		}
		if room := len(request.Raw) - len(m.Raw) - channelHeader - fourLength; pad && room > 0 {
			m.Add(stun.AttrPadding, make([]byte, room)) // makes the answer as long as the request
		}
	}
	if fingerprint {
		add(m, stun.Fingerprint)
	}
	return r
}

// ofDiscovery are the attributes that only a server with a discovery understands.
var ofDiscovery = map[stun.AttrType]bool{
	stun.AttrChangeRequest: true,
	stun.AttrResponsePort:  true,
	stun.AttrPadding:       true,
}

// ignored are the attributes that clients put into Binding requests and that a Binding request does not need:
// credentials, and the attributes of ICE's checks.
var ignored = map[stun.AttrType]bool{
	stun.AttrUsername:               true,
	stun.AttrRealm:                  true,
	stun.AttrNonce:                  true,
	stun.AttrMessageIntegrity:       true,
	stun.AttrMessageIntegritySHA256: true,
	stun.AttrPriority:               true,
	stun.AttrUseCandidate:           true,
}
