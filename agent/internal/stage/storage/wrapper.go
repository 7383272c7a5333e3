package storage

import (
	"encoding/binary"
	"math"
)

// Lengths and signatures of the wrappers (5.1, 5.2).
const (
	commandLength    = 31
	commandSignature = 0x43425355
	statusLength     = 13
	statusSignature  = 0x53425355
)

// Values of bCSWStatus (5.2).
const (
	statusPassed = 0
	statusFailed = 1
)

// wrapper is a valid command block wrapper.
type wrapper [commandLength]byte

// parseWrapper parses the data of an OUT. It returns false unless they are a valid
// and meaningful wrapper (6.2).
func parseWrapper(b []byte) (w wrapper, ok bool) {
	if len(b) != commandLength || binary.LittleEndian.Uint32(b) != commandSignature ||
		b[12]&0x7f != 0 || b[13]&0xf0 != 0 || b[14] < 1 || b[14] > 16 {
		return w, false
	}
	copy(w[:], b)
	return w, true
}

func newWrapper(tag uint32, unit uint8, length uint32, block []byte) (w wrapper) {
	binary.LittleEndian.PutUint32(w[:], commandSignature)
	binary.LittleEndian.PutUint32(w[4:], tag)
	binary.LittleEndian.PutUint32(w[8:], length)
	w[12], w[13], w[14] = 0x80, unit, uint8(len(block))
	copy(w[15:], block)
	return w
}

func (w *wrapper) tag() uint32     { return binary.LittleEndian.Uint32(w[4:]) }
func (w *wrapper) length() uint32  { return binary.LittleEndian.Uint32(w[8:]) }
func (w *wrapper) toHost() bool    { return w[12]&0x80 != 0 }
func (w *wrapper) unit() uint8     { return w[13] }
func (w *wrapper) block() []byte   { return w[15 : 15+w[14]] }
func (w *wrapper) operation() byte { return w[15] }

// status returns the status wrapper that answers w.
func (w *wrapper) status(residue uint32, status byte) []byte {
	b := make([]byte, statusLength)
	binary.LittleEndian.PutUint32(b, statusSignature)
	binary.LittleEndian.PutUint32(b[4:], w.tag())
	binary.LittleEndian.PutUint32(b[8:], residue)
	b[12] = status
	return b
}

// verdict is the meaning of a status wrapper.
type verdict uint8

const (
	good   verdict = iota // passed, with all data
	short                 // passed, with a residue
	failed                // the command failed, and sense data say why
	broken                // the wrapper violates the protocol, or reports a phase error
)

// verdict returns the meaning of a status wrapper for w (6.3).
func (w *wrapper) verdict(b []byte) verdict {
	switch {
	case !isStatus(b), binary.LittleEndian.Uint32(b[4:]) != w.tag(), binary.LittleEndian.Uint32(b[8:]) > w.length():
		return broken
	case b[12] == statusFailed:
		return failed
	case binary.LittleEndian.Uint32(b[8:]) > 0:
		return short
	}
	return good
}

// isStatus reports whether b looks like the status wrapper of a command that has
// ended without a phase error.
func isStatus(b []byte) bool {
	return len(b) == statusLength && binary.LittleEndian.Uint32(b) == statusSignature && b[12] <= statusFailed
}

// Operation codes (SPC-4, SBC-3, MMC-6).
const (
	opTestUnitReady       = 0x00
	opRequestSense        = 0x03
	opRead6               = 0x08
	opWrite6              = 0x0a
	opInquiry             = 0x12
	opModeSense6          = 0x1a
	opStartStop           = 0x1b
	opPreventAllow        = 0x1e
	opReadFormatCapacity  = 0x23
	opReadCapacity10      = 0x25
	opRead10              = 0x28
	opWrite10             = 0x2a
	opWriteVerify10       = 0x2e
	opVerify10            = 0x2f
	opSynchronizeCache10  = 0x35
	opReadTOC             = 0x43
	opGetConfiguration    = 0x46
	opGetEventStatus      = 0x4a
	opLogSense            = 0x4d
	opReadDiscInformation = 0x51
	opModeSense10         = 0x5a
	opRead16              = 0x88
	opWrite16             = 0x8a
	opWriteVerify16       = 0x8e
	opVerify16            = 0x8f
	opSynchronizeCache16  = 0x91
	opServiceActionIn16   = 0x9e
	opReportLUNs          = 0xa0
	opRead12              = 0xa8
	opWrite12             = 0xaa
	opWriteVerify12       = 0xae

	serviceReadCapacity16 = 0x10
)

// extent is a range of blocks.
type extent struct {
	first, count uint64
}

func (e extent) end() uint64 { return e.first + e.count }

func (e extent) overlaps(o extent) bool { return e.first < o.end() && o.first < e.end() }

// extent returns the blocks that the READ or WRITE command in w addresses. It returns
// false for other commands, and for blocks at the end of the range of the numbers.
func (w *wrapper) extent() (extent, bool) {
	b := w.block()
	var e extent
	switch op := w.operation(); {
	case (op == opRead6 || op == opWrite6) && len(b) >= 6:
		e = extent{uint64(b[1]&0x1f)<<16 | uint64(b[2])<<8 | uint64(b[3]), uint64(b[4])}
		if e.count == 0 {
			e.count = 256
		}
	case (op == opRead10 || op == opWrite10 || op == opWriteVerify10) && len(b) >= 10:
		e = extent{uint64(binary.BigEndian.Uint32(b[2:])), uint64(binary.BigEndian.Uint16(b[7:]))}
	case (op == opRead12 || op == opWrite12 || op == opWriteVerify12) && len(b) >= 12:
		e = extent{uint64(binary.BigEndian.Uint32(b[2:])), uint64(binary.BigEndian.Uint32(b[6:]))}
	case (op == opRead16 || op == opWrite16 || op == opWriteVerify16) && len(b) >= 16:
		e = extent{binary.BigEndian.Uint64(b[2:]), uint64(binary.BigEndian.Uint32(b[10:]))}
	default:
		return extent{}, false
	}
	return e, e.first <= math.MaxUint64-e.count
}

// isRead reports whether w is a READ command that may be answered from blocks that
// were read before. FUA demands that the medium is read (SBC-3, 5.10).
func (w *wrapper) isRead() bool {
	const fua = 0x08
	switch w.operation() {
	case opRead6:
		return w.toHost()
	case opRead10, opRead12, opRead16:
		return w.toHost() && w[16]&fua == 0
	}
	return false
}

// isWrite reports whether w is a WRITE command that a volatile cache may take. FUA demands
// that the blocks are on the medium (SBC-3, 5.33).
func (w *wrapper) isWrite() bool {
	const fua = 0x08
	switch w.operation() {
	case opWrite6:
		return !w.toHost()
	case opWrite10, opWrite12, opWrite16:
		return !w.toHost() && w[16]&fua == 0
	}
	return false
}

// writes reports whether w changes the blocks of wrapper.extent.
func (w *wrapper) writes() bool { return w.effect() == someBlocks }

// isSync reports whether w is a SYNCHRONIZE CACHE.
func (w *wrapper) isSync() bool {
	return w.operation() == opSynchronizeCache10 || w.operation() == opSynchronizeCache16
}

// mustFollowWrites reports whether a command without an effect on blocks depends on
// earlier writes: VERIFY, and the permission to remove the medium.
func (w *wrapper) mustFollowWrites() bool {
	switch w.operation() {
	case opVerify10, opVerify16:
		return true
	case opPreventAllow:
		return w[15+4]&3 == 0
	}
	return false
}

// effect is the set of blocks that a command may change.
type effect uint8

const (
	nothing    effect = iota
	someBlocks        // those of wrapper.extent
	everything        // blocks, their number, the medium, or something unknown
)

// effect returns the effect of the command in w. A command that is not in the list
// may change everything.
func (w *wrapper) effect() effect {
	switch w.operation() {
	case opRead6, opRead10, opRead12, opRead16, opTestUnitReady, opRequestSense, opInquiry, opModeSense6,
		opModeSense10, opPreventAllow, opReadFormatCapacity, opReadCapacity10, opVerify10, opVerify16,
		opSynchronizeCache10, opSynchronizeCache16, opReadTOC, opGetConfiguration, opGetEventStatus, opLogSense,
		opReadDiscInformation, opReportLUNs:
		return nothing
	case opServiceActionIn16:
		if w[16]&0x1f == serviceReadCapacity16 {
			return nothing
		}
	case opWrite6, opWrite10, opWrite12, opWrite16, opWriteVerify10, opWriteVerify12, opWriteVerify16:
		return someBlocks
	}
	return everything
}

// at returns the command block of w, a READ, for other blocks. It returns nil if the
// command cannot address them.
func (w *wrapper) at(e extent) []byte {
	b := append([]byte(nil), w.block()...)
	switch w.operation() {
	case opRead10:
		if e.end() > math.MaxUint32 || e.count > math.MaxUint16 {
			return nil
		}
		binary.BigEndian.PutUint32(b[2:], uint32(e.first))
		binary.BigEndian.PutUint16(b[7:], uint16(e.count))
	case opRead12:
		if e.end() > math.MaxUint32 {
			return nil
		}
		binary.BigEndian.PutUint32(b[2:], uint32(e.first))
		binary.BigEndian.PutUint32(b[6:], uint32(e.count))
	case opRead16:
		binary.BigEndian.PutUint64(b[2:], e.first)
		binary.BigEndian.PutUint32(b[10:], uint32(e.count))
	default:
		return nil
	}
	return b
}
