package virtual

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Operation codes (SPC-4, SBC-3, MMC-6).
const (
	opTestUnitReady           = 0x00
	opRequestSense            = 0x03
	opInquiry                 = 0x12
	opModeSense6              = 0x1a
	opStartStop               = 0x1b
	opPreventAllow            = 0x1e
	opReadFormatCapacity      = 0x23
	opReadCapacity10          = 0x25
	opRead10                  = 0x28
	opWrite10                 = 0x2a
	opVerify10                = 0x2f
	opSynchronizeCache        = 0x35
	opReportLUNs              = 0xa0
	pageCaching               = 0x08
	pageAll                   = 0x3f
	vitalSupported            = 0x00
	vitalSerial               = 0x80
	responseFixed        byte = 0x70
)

// sense is the reason why a command failed: sense key, additional sense code and
// its qualifier (SPC-4, 4.5).
type sense struct{ key, code, qualifier byte }

var (
	senseReadError    = sense{0x03, 0x11, 0x00} // medium error, unrecovered read error
	senseWriteError   = sense{0x03, 0x0c, 0x00} // medium error, write error
	senseStopped      = sense{0x02, 0x04, 0x02} // not ready, initializing command required
	senseOperation    = sense{0x05, 0x20, 0x00} // illegal request, invalid operation code
	senseOutOfRange   = sense{0x05, 0x21, 0x00} // illegal request, block address out of range
	senseField        = sense{0x05, 0x24, 0x00} // illegal request, invalid field in the command
	senseUnit         = sense{0x05, 0x25, 0x00} // illegal request, logical unit not supported
	senseWriteProtect = sense{0x07, 0x27, 0x00} // data protect, write protected
)

// target is a direct-access block device with one logical unit.
type target struct {
	// Constant after construction.
	store    Store
	blocks   int64
	readOnly bool
	serial   string

	// Owned by the goroutine that runs the opened device.
	sense   sense // of the last command; cleared when the computer fetches it
	stopped bool
}

// task describes the data phase of a command.
type task struct {
	toHost bool   // direction of the data
	length int64  // bytes
	answer []byte // the data for the computer; nil if they are blocks of the store
	at     int64  // offset of the next byte in answer or in the store
	failed bool   // CHECK CONDITION; the reason is in target.sense
}

func (t *target) reset() { t.sense, t.stopped = sense{}, false }

// begin decodes a command block and runs the part of the command before the data
// phase. b has 1 to 16 bytes.
func (t *target) begin(unit byte, b []byte) task {
	var block [16]byte
	copy(block[:], b)
	b = block[:]
	if b[0] == opRequestSense {
		return t.requestSense(b)
	}
	t.sense = sense{}
	if unit != 0 {
		return t.otherUnit(b)
	}
	switch b[0] {
	case opInquiry:
		return t.inquiry(b)
	case opReportLUNs:
		return answer([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, binary.BigEndian.Uint32(b[6:]))
	case opModeSense6:
		return t.modeSense(b)
	case opStartStop:
		t.stopped = b[4]&1 == 0
		return t.synchronize()
	case opPreventAllow:
		return task{}
	}
	if t.stopped {
		return t.fail(senseStopped)
	}
	return t.medium(b)
}

// medium runs the commands that need the medium.
func (t *target) medium(b []byte) task {
	switch b[0] {
	case opTestUnitReady:
		return task{}
	case opReadCapacity10:
		out := binary.BigEndian.AppendUint32(nil, uint32(t.blocks-1))
		return answer(binary.BigEndian.AppendUint32(out, BlockSize), 8)
	case opReadFormatCapacity:
		out := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, uint32(min(t.blocks, 1<<32-1)))
		return answer(append(out, 2, 0, BlockSize>>8, 0), uint32(binary.BigEndian.Uint16(b[7:])))
	case opSynchronizeCache:
		return t.synchronize()
	case opVerify10:
		if b[1]&0x06 != 0 {
			return t.fail(senseField) // comparing with data from the computer is not supported
		}
		r := t.extent(b)
		r.length = 0
		return r
	case opRead10:
		r := t.extent(b)
		r.toHost = true
		return r
	case opWrite10:
		if t.readOnly {
			return t.fail(senseWriteProtect)
		}
		return t.extent(b)
	}
	return t.fail(senseOperation)
}

// otherUnit answers commands for logical units that do not exist.
func (t *target) otherUnit(b []byte) task {
	if b[0] != opInquiry {
		return t.fail(senseUnit)
	}
	out := make([]byte, 36)
	out[0] = 0x7f // this unit can have no device
	return answer(out, uint32(binary.BigEndian.Uint16(b[3:])))
}

func (t *target) fail(s sense) task {
	t.sense = s
	return task{failed: true}
}

// answer returns a task that sends data, cut to the allocation length of the
// command.
func answer(data []byte, allocated uint32) task {
	data = data[:min(uint64(len(data)), uint64(allocated))]
	return task{toHost: true, length: int64(len(data)), answer: data}
}

// extent returns the task for the blocks that a 10-byte command addresses.
func (t *target) extent(b []byte) task {
	first := int64(binary.BigEndian.Uint32(b[2:]))
	count := int64(binary.BigEndian.Uint16(b[7:]))
	if first+count > t.blocks {
		return t.fail(senseOutOfRange)
	}
	return task{length: count * BlockSize, at: first * BlockSize}
}

func (t *target) requestSense(b []byte) task {
	out := make([]byte, 18)
	out[0], out[7] = responseFixed, 10
	out[2], out[12], out[13] = t.sense.key, t.sense.code, t.sense.qualifier
	t.sense = sense{}
	return answer(out, uint32(b[4]))
}

func (t *target) inquiry(b []byte) task {
	allocated := uint32(binary.BigEndian.Uint16(b[3:]))
	switch {
	case b[1]&1 == 0 && b[2] == 0:
		out := []byte{0, 0, 6, 2, 31, 0, 0, 0} // a fixed disk that conforms to SPC-4
		return answer(fmt.Appendf(out, "%-8s%-16s%-4s", "EasyFind", "Virtual Disk", "1.00"), allocated)
	case b[1]&1 == 1 && b[2] == vitalSupported:
		return answer([]byte{0, vitalSupported, 0, 2, vitalSupported, vitalSerial}, allocated)
	case b[1]&1 == 1 && b[2] == vitalSerial:
		serial := t.serial[:min(len(t.serial), 0xff)]
		return answer(append([]byte{0, vitalSerial, 0, byte(len(serial))}, serial...), allocated)
	}
	return t.fail(senseField)
}

// modeSense answers with the caching page. The page reports a write-back cache if
// the store has a method Sync.
func (t *target) modeSense(b []byte) task {
	page := b[2] & 0x3f
	if page != pageCaching && page != pageAll || b[2]&0xc0 == 0xc0 {
		return t.fail(senseField)
	}
	out := make([]byte, 4+20)
	out[0] = byte(len(out) - 1)
	if t.readOnly {
		out[2] = 0x80
	}
	out[4], out[5] = pageCaching, 18
	if _, ok := t.store.(syncer); ok {
		out[6] = 0x04 // WCE
	}
	return answer(out, uint32(b[4]))
}

// syncer is implemented by stores that have a cache to flush.
type syncer interface{ Sync() error }

func (t *target) synchronize() task {
	if s, ok := t.store.(syncer); ok && !t.readOnly {
		if err := s.Sync(); err != nil {
			return t.fail(senseWriteError)
		}
	}
	return task{}
}

// read fills b with the next bytes of task k.
func (t *target) read(k task, b []byte) error {
	if k.answer != nil {
		copy(b, k.answer[k.at:])
		return nil
	}
	n, err := t.store.ReadAt(b, k.at)
	if n == len(b) {
		return nil // io.ReaderAt may return io.EOF with the last bytes
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// write stores b as the next bytes of task k.
func (t *target) write(k task, b []byte) error {
	_, err := t.store.WriteAt(b, k.at)
	return err
}
