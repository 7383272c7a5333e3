package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Bits of CHANGE-REQUEST (RFC 5780 section 7.2).
const (
	changeIP   = 0x04
	changePort = 0x02
)

// discovery is what lets a client find out how its NAT behaves (RFC 5780): the
// same two ports at two addresses. Nil is a server without.
type discovery struct {
	sockets [2][2]*net.UDPConn // by address and port
	public  [2]netip.Addr      // as clients reach them
	ports   [2]uint16
}

// place is one of a discovery's sockets.
type place struct{ ip, port int }

func (d *discovery) at(p place) netip.AddrPort {
	return netip.AddrPortFrom(d.public[p.ip], d.ports[p.port])
}

// other is the place whose address and port are both others.
func (p place) other() place { return place{1 - p.ip, 1 - p.port} }

// reply is a Binding answer, where it goes and from where.
type reply struct {
	message message
	to      netip.AddrPort
	from    place // if there is a discovery
}

// bind answers a Binding request that came from a client to a place. No answer
// is much longer than its request: whoever has forged the sender's address
// gains little.
func (d *discovery) bind(request message, client netip.AddrPort, at place) reply {
	r := reply{to: client, from: at}
	var unknown []byte
	mark, pad := false, false
	for attr, value := range request.attributes() {
		switch {
		case attr == attrFingerprint:
			mark = true
		case attr == attrChangeRequest && d != nil:
			flags := binary.BigEndian.Uint32(value)
			if flags&changeIP != 0 {
				r.from.ip = 1 - at.ip
			}
			if flags&changePort != 0 {
				r.from.port = 1 - at.port
			}
		case attr == attrResponsePort && d != nil:
			r.to = netip.AddrPortFrom(client.Addr(), binary.BigEndian.Uint16(value))
		case attr == attrPadding && d != nil:
			pad = true
		case attr == attrChangeRequest || attr == attrResponsePort || attr == attrPadding || attr < optional && !ofBinding[attr]:
			unknown = binary.BigEndian.AppendUint16(unknown, attr)
		}
	}
	if unknown != nil {
		r = reply{to: client, from: at}
		r.message = newMessage(bindingError, request).addError(420, "Unknown Attribute").add(attrUnknown, unknown[:min(len(unknown), 2*maxUnknown)])
	} else {
		r.message = newMessage(bindingSuccess, request).addXORAddress(attrXORMapped, client)
		if d != nil {
			r.message = r.message.addAddress(attrResponseOrigin, d.at(r.from)).addAddress(attrOtherAddress, d.at(at.other()))
		}
		if room := len(request) - len(r.message) - channelHeader - fourLength; pad && room > 0 {
			r.message = r.message.add(attrPadding, make([]byte, room)) // as long as the request, not longer
		}
	}
	if mark {
		r.message = r.message.addFingerprint()
	}
	return r
}

// maxUnknown is how many unknown attributes an answer names.
const maxUnknown = 4

// ofBinding are the attributes that clients put into Binding requests and that
// mean nothing here: credentials, and those of ICE's checks.
var ofBinding = map[uint16]bool{
	0x0006:               true, // USERNAME
	0x0014:               true, // REALM
	0x0015:               true, // NONCE
	attrMessageIntegrity: true,
	0x001c:               true, // MESSAGE-INTEGRITY-SHA256
	0x0024:               true, // PRIORITY
	0x0025:               true, // USE-CANDIDATE
}
