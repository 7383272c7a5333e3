package signal

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// LinkReport describes the link of a peer to a paired peer for the operator of the rendezvous. A peer sends one when
// it has a link and whenever the link changes. The report contains no addresses and nothing that the link carries. It
// has no answer, and it needs [FeatureLinkReports].
type LinkReport struct {
	Peer      ident.PeerID
	Kind      LinkKind
	Transport Transport
	RTT       time.Duration // as last measured, in whole milliseconds below 65536; 0 if not measured
}

// LinkKind is the kind of path that a link uses.
type LinkKind uint8

// The kinds of links.
const (
	LinkNone    LinkKind = 0 // the link has ended
	LinkLAN     LinkKind = 1 // between private addresses
	LinkDirect  LinkKind = 2
	LinkRelayed LinkKind = 3
)

// Transport is the protocol that carries a link. On a relayed link it is the protocol to the relay.
type Transport uint8

// The transports.
const (
	TransportNone Transport = 0 // the link has ended
	TransportUDP  Transport = 1
	TransportTCP  Transport = 2 // unless the link is relayed, it is authenticated and not encrypted
	TransportTLS  Transport = 3
)

const linkReportSize = len(ident.PeerID{}) + 1 + 1 + 2

func (LinkReport) fromPeer() {}

func (m LinkReport) appendFrame(b []byte) []byte {
	b = append(appendHeader(b, KindLinkReport, linkReportSize), m.Peer[:]...)
	b = append(b, byte(m.Kind), byte(m.Transport))
	return binary.BigEndian.AppendUint16(b, uint16(min(max(m.RTT, 0)/time.Millisecond, 1<<16-1)))
}

func decodeLinkReport(body []byte) (LinkReport, error) {
	var m LinkReport
	if err := exactly("LinkReport", body, linkReportSize); err != nil {
		return m, err
	}
	rest := body[copy(m.Peer[:], body):]
	m.Kind, m.Transport = LinkKind(rest[0]), Transport(rest[1])
	m.RTT = time.Duration(binary.BigEndian.Uint16(rest[2:])) * time.Millisecond
	none := m.Kind == LinkNone
	valid := m.Kind <= LinkRelayed && m.Transport <= TransportTLS
	if !valid || none != (m.Transport == TransportNone) || none && m.RTT != 0 {
		return LinkReport{}, fmt.Errorf("%w: LinkReport of kind %d over transport %d", ErrBody, m.Kind, m.Transport)
	}
	return m, nil
}
