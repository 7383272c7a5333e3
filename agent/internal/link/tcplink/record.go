package tcplink

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// recordKind is the first byte of a record; see the package comment.
type recordKind uint8

const (
	recordFrame recordKind = 0 // the first byte of a frame's length
	recordMove  recordKind = 1 // lane 4
	recordEnd   recordKind = 2 // lane 4
	recordAlive recordKind = 3
	recordClose recordKind = 4 // length 1 │ reason
)

// The first byte of a frame's length must be zero.
const _ = uint(1<<24 - 1 - tunnel.MaxFrame)

// record is a record that was read.
type record struct {
	kind   recordKind
	frame  tunnel.Frame // of recordFrame
	lane   tunnel.Lane  // of recordMove and recordEnd
	reason string       // of recordClose, cleaned
}

// readRecord reads a record. Its error is io.EOF if the connection ends between
// two records. It wraps tunnel.ErrMalformed if the bytes are not a record.
func readRecord(from *bufio.Reader, frames *link.FrameReader) (record, error) {
	first, err := from.Peek(1)
	if err != nil {
		return record{}, err
	}
	r := record{kind: recordKind(first[0])}
	if r.kind == recordFrame {
		r.frame, err = frames.Read(from)
		return r, err
	}
	if _, err = from.Discard(1); err == nil {
		err = r.readRest(from)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // inside a record
	}
	return r, err
}

// readRest reads the part of a record after its kind.
func (r *record) readRest(from *bufio.Reader) error {
	switch r.kind {
	case recordMove, recordEnd:
		var lane [4]byte
		_, err := io.ReadFull(from, lane[:])
		r.lane = tunnel.Lane(binary.BigEndian.Uint32(lane[:]))
		return err
	case recordAlive:
		return nil
	case recordClose:
		length, err := from.ReadByte()
		if err != nil {
			return err
		}
		reason := make([]byte, length)
		_, err = io.ReadFull(from, reason)
		r.reason = link.CleanReason(string(reason))
		return err
	}
	return fmt.Errorf("%w: a record of kind %d", tunnel.ErrMalformed, r.kind)
}

// laneRecord encodes a recordMove or recordEnd.
func laneRecord(kind recordKind, lane tunnel.Lane) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(kind)}, uint32(lane))
}

// closeRecord encodes a recordClose.
func closeRecord(reason string) []byte {
	reason = link.CleanReason(reason)
	reason = reason[:min(len(reason), 255)]
	return append([]byte{byte(recordClose), byte(len(reason))}, reason...)
}

// role is the kind of lanes that one of a link's two connections carries.
type role uint8

const (
	roleInteractive role = 0
	roleBulk        role = 1
	roles                = 2
)

func (r role) String() string {
	if r == roleBulk {
		return "bulk"
	}
	return "interactive"
}

const (
	version  = 1
	joinSize = 2 + 16
)

// join is the dialer's first message on a connection. It names the link and the
// role of the connection in it.
type join struct {
	role role
	link [16]byte
}

func (j join) encode() []byte {
	return append([]byte{version, byte(j.role)}, j.link[:]...)
}

func decodeJoin(b []byte) (join, error) {
	if len(b) != joinSize {
		return join{}, fmt.Errorf("%w: a join message of %d bytes", tunnel.ErrMalformed, len(b))
	}
	if b[0] != version {
		return join{}, fmt.Errorf("the peer speaks version %d of links over TCP and this agent version %d: "+
			"update the older one", b[0], version)
	}
	if b[1] >= roles {
		return join{}, fmt.Errorf("%w: a connection with role %d", tunnel.ErrMalformed, b[1])
	}
	return join{role: role(b[1]), link: [16]byte(b[2:])}, nil
}
