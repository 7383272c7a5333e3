package signal

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Path tells the rendezvous what the link to a paired peer is like, once it has
// one and whenever that changes, for the operator to see. It says no addresses,
// and nothing of what the link carries. It has no answer, and needs
// [FeaturePaths].
type Path struct {
	Peer      ident.PeerID
	Kind      PathKind
	Transport Transport
	RTT       time.Duration // as measured now, in whole milliseconds below 65536; 0 if not measured
}

// PathKind is what way packets take.
type PathKind uint8

// The kinds.
const (
	PathNone    PathKind = 0 // there is no link any more
	PathLAN     PathKind = 1 // between private addresses
	PathDirect  PathKind = 2
	PathRelayed PathKind = 3
)

// Transport is what carries them; on a relayed path as far as the relay.
type Transport uint8

// The transports.
const (
	TransportNone Transport = 0 // there is no link any more
	TransportUDP  Transport = 1
	TransportTCP  Transport = 2 // on a path that is not relayed: authenticated, not encrypted
	TransportTLS  Transport = 3
)

const pathSize = len(ident.PeerID{}) + 1 + 1 + 2

func (Path) fromPeer() {}

func (m Path) appendFrame(b []byte) []byte {
	b = append(appendHeader(b, KindPath, pathSize), m.Peer[:]...)
	b = append(b, byte(m.Kind), byte(m.Transport))
	return binary.BigEndian.AppendUint16(b, uint16(min(max(m.RTT, 0)/time.Millisecond, 1<<16-1)))
}

func decodePath(body []byte) (Path, error) {
	var m Path
	if err := exactly("Path", body, pathSize); err != nil {
		return m, err
	}
	rest := body[copy(m.Peer[:], body):]
	m.Kind, m.Transport = PathKind(rest[0]), Transport(rest[1])
	m.RTT = time.Duration(binary.BigEndian.Uint16(rest[2:])) * time.Millisecond
	none := m.Kind == PathNone
	if m.Kind > PathRelayed || m.Transport > TransportTLS || none != (m.Transport == TransportNone) || none && m.RTT != 0 {
		return Path{}, fmt.Errorf("%w: Path of kind %d over transport %d", ErrBody, m.Kind, m.Transport)
	}
	return m, nil
}
