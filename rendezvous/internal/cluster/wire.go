package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

const alpn = "easyfind-cluster/1"

// Kinds of frames. A frame is, in big-endian order: length 4 (of the rest) │
// kind 1 │ body. The bodies are:
const (
	kindHello   = 1 // epoch of the receiver 8 │ epoch of the sender 8 │ name of the sender
	kindForward = 2 // id 4 │ from 32 │ to 32 │ body
	kindResult  = 3 // id 4 │ code 1; code 0: confirmed
	kindMoved   = 4 // (peer 32 │ Unix milliseconds 8), repeated
	kindPing    = 5 // empty
	kindPong    = 6 // empty
)

// Bounds of frames, in bytes unless noted.
const (
	maxName       = 128 // of an instance's name
	forwardPrefix = 4 + 2*len(ident.PeerID{})
	maxFrame      = 1 + forwardPrefix + signal.MaxBody
	resultSize    = 5
	movedSize     = len(ident.PeerID{}) + 8
	maxMoved      = registry.MaxBatch // peers
)

var errFrame = errors.New("malformed frame on a link between instances")

// hello is the first frame of a link.
type hello struct {
	wanted, own int64  // epochs of the receiver and of the sender
	name        string // of the sender
}

// forward is a message for a peer of the receiver.
type forward struct {
	id       uint32
	from, to ident.PeerID
	body     []byte
}

// result answers a forward.
type result struct {
	id   uint32         // of the forward
	code signal.Failure // 0: the peer has confirmed the message
}

// moves lists peers that have connected to the sender, and when.
type moves []presence.Connection

type (
	ping struct{}
	pong struct{}
)

func (h hello) frame() []byte {
	b := header(kindHello, 16+len(h.name))
	b = binary.BigEndian.AppendUint64(b, uint64(h.wanted))
	b = binary.BigEndian.AppendUint64(b, uint64(h.own))
	return append(b, h.name...)
}

func (f forward) frame() []byte {
	b := header(kindForward, forwardPrefix+len(f.body))
	b = binary.BigEndian.AppendUint32(b, f.id)
	b = append(b, f.from[:]...)
	b = append(b, f.to[:]...)
	return append(b, f.body...)
}

func (r result) frame() []byte {
	b := header(kindResult, resultSize)
	b = binary.BigEndian.AppendUint32(b, r.id)
	return append(b, byte(r.code))
}

func (m moves) frame() []byte {
	b := header(kindMoved, len(m)*movedSize)
	for _, p := range m {
		b = append(b, p.Peer[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(p.Since.UnixMilli()))
	}
	return b
}

func (ping) frame() []byte { return header(kindPing, 0) }

func (pong) frame() []byte { return header(kindPong, 0) }

// header returns the beginning of a frame, with room for a body of size bytes.
func header(kind byte, size int) []byte {
	b := make([]byte, 0, 5+size)
	b = binary.BigEndian.AppendUint32(b, uint32(1+size))
	return append(b, kind)
}

// readFrame reads a frame and decodes it into one of the types above.
func readFrame(r io.Reader) (any, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint32(head[:]))
	if length == 0 || length > int64(maxFrame) {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, length)
	}
	body := make([]byte, length-1)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return decode(head[4], body)
}

// decode returns the frame of a kind and a body.
func decode(kind byte, body []byte) (any, error) {
	switch {
	case kind == kindHello && len(body) > 16 && len(body) <= 16+maxName:
		return hello{
			wanted: int64(binary.BigEndian.Uint64(body)),
			own:    int64(binary.BigEndian.Uint64(body[8:])),
			name:   string(body[16:]),
		}, nil
	case kind == kindForward && len(body) >= forwardPrefix:
		f := forward{id: binary.BigEndian.Uint32(body)}
		copy(f.from[:], body[4:])
		copy(f.to[:], body[4+len(f.from):])
		f.body = body[forwardPrefix:]
		return f, nil
	case kind == kindResult && len(body) == resultSize:
		return result{id: binary.BigEndian.Uint32(body), code: signal.Failure(body[4])}, nil
	case kind == kindMoved && len(body) > 0 && len(body)%movedSize == 0 && len(body)/movedSize <= maxMoved:
		return decodeMoved(body), nil
	case kind == kindPing && len(body) == 0:
		return ping{}, nil
	case kind == kindPong && len(body) == 0:
		return pong{}, nil
	}
	return nil, fmt.Errorf("%w: kind %d with %d bytes", errFrame, kind, len(body))
}

func decodeMoved(body []byte) moves {
	m := make(moves, 0, len(body)/movedSize)
	for ; len(body) > 0; body = body[movedSize:] {
		var p presence.Connection
		since := body[copy(p.Peer[:], body):]
		p.Since = time.UnixMilli(int64(binary.BigEndian.Uint64(since))).UTC()
		m = append(m, p)
	}
	return m
}
