package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

const alpn = "easyfind-cluster/1"

// The frames of a link, big-endian: length 4 (of what follows) │ kind 1 │ body.
const (
	kindHello   = 1 // wanted epoch 8 │ own epoch 8 │ own name
	kindForward = 2 // id 4 │ from 32 │ to 32 │ body
	kindResult  = 3 // id 4 │ code 1; 0 is confirmed
)

// Bounds of frames.
const (
	maxName       = 128 // bytes of an instance's name
	forwardPrefix = 4 + 2*len(ident.PeerID{})
	maxFrame      = 1 + forwardPrefix + signal.MaxBody
	resultSize    = 5
)

var errFrame = errors.New("malformed frame on a link between instances")

type hello struct {
	wanted, own int64 // epochs
	name        string
}

type forward struct {
	id       uint32
	from, to ident.PeerID
	body     []byte
}

type result struct {
	id   uint32
	code signal.Failure
}

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

func header(kind byte, size int) []byte {
	b := make([]byte, 0, 5+size)
	b = binary.BigEndian.AppendUint32(b, uint32(1+size))
	return append(b, kind)
}

// readFrame reads a frame and decodes it into a hello, a forward or a result.
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
	}
	return nil, fmt.Errorf("%w: kind %d with %d bytes", errFrame, kind, len(body))
}
