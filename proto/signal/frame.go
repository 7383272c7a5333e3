package signal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// ALPN is the name of the protocol in the TLS handshake.
const ALPN = "easyfind/1"

// The subprotocols of a WebSocket. The peer offers both, and the rendezvous selects the one whose binding the
// connection has.
const (
	SubprotocolTLS    = "easyfind.1.tls"    // see BoundToTLS
	SubprotocolOrigin = "easyfind.1.origin" // see BoundToOrigin
)

// Bounds and times that both sides know.
const (
	MaxFrame    = 64 << 10              // bytes after the length, including the kind
	MaxMessage  = headerSize + MaxFrame // bytes of one WebSocket message
	MaxBody     = 48 << 10              // bytes of the body of Send and Deliver
	MaxText     = 256                   // bytes of a text for people
	maxGreeting = 256                   // bytes of a frame before the peer is known

	PingInterval  = 30 * time.Second // of the peer
	IdleTimeout   = 90 * time.Second // of the rendezvous
	HelloTimeout  = 10 * time.Second // from Challenge to Hello
	HelloValidity = time.Minute      // from the time of the Challenge to the expiry of the Hello
)

const headerSize = 4

// Kind is the type of a message.
type Kind uint8

// The kinds and the layout of their bodies. The rendezvous sends those below 16, the peer sends the others.
const (
	KindChallenge Kind = 1 // nonce 32 │ unix milliseconds 8
	KindWelcome   Kind = 2 // idle seconds 2
	KindPong      Kind = 3 // token 8
	KindSent      Kind = 4 // id 4
	KindFailed    Kind = 5 // id 4 │ code 1
	KindDeliver   Kind = 6 // number 4 │ from 32 │ body
	KindBye       Kind = 7 // code 1 │ UTF-8 text
	KindFeatures  Kind = 8 // bits 8
	KindMove      Kind = 9 // empty

	KindHello      Kind = 16 // public key 32 │ unix milliseconds 8 │ signature 64
	KindPing       Kind = 17 // token 8
	KindSend       Kind = 18 // id 4 │ to 32 │ body
	KindGot        Kind = 19 // number 4
	KindLinkReport Kind = 20 // peer 32 │ kind 1 │ transport 1 │ RTT milliseconds 2
)

// FromRendezvous is a message that the rendezvous sends: [Challenge],
// [Welcome], [Pong], [Sent], [SendFailed], [Deliver], [Bye], [Features] or [Move].
type FromRendezvous interface {
	fromRendezvous()
	appendFrame(b []byte) []byte
}

// FromPeer is a message that a peer sends: [Hello], [Ping], [Send], [Got] or
// [LinkReport].
type FromPeer interface {
	fromPeer()
	appendFrame(b []byte) []byte
}

// AppendFromRendezvous appends the frame of m to b.
func AppendFromRendezvous(b []byte, m FromRendezvous) []byte { return m.appendFrame(b) }

// AppendFromPeer appends the frame of m to b.
func AppendFromPeer(b []byte, m FromPeer) []byte { return m.appendFrame(b) }

// Errors of frames that violate the protocol. The connection ends after them.
var (
	ErrFrameSize = errors.New("signalling frame has an impossible length")
	ErrKind      = errors.New("signalling frame of an unknown kind")
	ErrBody      = errors.New("signalling frame with a malformed body")
)

// Reader reads frames. It has no buffer, so that an idle connection costs little memory.
type Reader struct {
	from   io.Reader
	max    int
	header [headerSize + 1]byte
}

// NewReader returns a Reader of r. Until [Reader.Greeted] is called, it accepts only the small frames with which a
// connection begins.
func NewReader(r io.Reader) *Reader { return &Reader{from: r, max: maxGreeting} }

// Greeted makes the reader accept frames of up to [MaxFrame] bytes.
func (r *Reader) Greeted() { r.max = MaxFrame }

// FromRendezvous reads the next message of a rendezvous. It returns io.EOF at a clean end, and a wrapped
// [ErrFrameSize], [ErrKind] or [ErrBody] if the rendezvous violates the protocol.
func (r *Reader) FromRendezvous() (FromRendezvous, error) {
	kind, body, err := r.frame()
	if err != nil {
		return nil, err
	}
	return decodeFromRendezvous(kind, body)
}

// FromPeer reads the next message of a peer. It returns the same errors as [Reader.FromRendezvous].
func (r *Reader) FromPeer() (FromPeer, error) {
	kind, body, err := r.frame()
	if err != nil {
		return nil, err
	}
	return decodeFromPeer(kind, body)
}

// frame reads one frame. The caller may keep the body.
func (r *Reader) frame() (Kind, []byte, error) {
	if _, err := io.ReadFull(r.from, r.header[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(r.header[:])
	if length == 0 || length > uint32(r.max) {
		return 0, nil, fmt.Errorf("%w: %d bytes, want 1 to %d", ErrFrameSize, length, r.max)
	}
	body := make([]byte, length-1)
	if _, err := io.ReadFull(r.from, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return Kind(r.header[headerSize]), body, nil
}

func decodeFromRendezvous(kind Kind, body []byte) (FromRendezvous, error) {
	switch kind {
	case KindChallenge:
		return decodeChallenge(body)
	case KindWelcome:
		return decodeWelcome(body)
	case KindPong:
		return decodePong(body)
	case KindSent:
		return decodeSent(body)
	case KindFailed:
		return decodeFailed(body)
	case KindDeliver:
		return decodeDeliver(body)
	case KindBye:
		return decodeBye(body)
	case KindFeatures:
		return decodeFeatures(body)
	case KindMove:
		return decodeMove(body)
	}
	return nil, fmt.Errorf("%w: %d from a rendezvous", ErrKind, kind)
}

func decodeFromPeer(kind Kind, body []byte) (FromPeer, error) {
	switch kind {
	case KindHello:
		return decodeHello(body)
	case KindPing:
		return decodePing(body)
	case KindSend:
		return decodeSend(body)
	case KindGot:
		return decodeGot(body)
	case KindLinkReport:
		return decodeLinkReport(body)
	}
	return nil, fmt.Errorf("%w: %d from a peer", ErrKind, kind)
}

// appendHeader begins a frame with a body of size bytes.
func appendHeader(b []byte, kind Kind, size int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(1+size))
	return append(b, byte(kind))
}

// exactly returns an error unless a body has the only size that it may have.
func exactly(what string, body []byte, size int) error {
	if len(body) != size {
		return fmt.Errorf("%w: %s of %d bytes, want %d", ErrBody, what, len(body), size)
	}
	return nil
}
