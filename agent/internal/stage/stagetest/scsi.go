package stagetest

import (
	"encoding/binary"
	"slices"
)

const (
	statusPass = 0
	statusFail = 1
)

// command handles a command wrapper. It returns false if the wrapper is not valid.
func (d *Disk) command(b []byte) bool {
	if len(b) != 31 || string(b[:4]) != "USBC" || b[14] < 1 || b[14] > 16 || b[12]&0x7f != 0 || b[13]&0xf0 != 0 {
		return false
	}
	d.commands++
	d.wrapper = slices.Clone(b)
	d.data, d.received, d.isShort, d.fault = nil, nil, false, NoFault
	unit, block := b[13], b[15:]
	length := binary.LittleEndian.Uint32(b[8:])
	toHost := b[12]&0x80 != 0
	if int(unit) >= d.cfg.Units {
		d.fail(unit, 5, 0x25, length, toHost, FailStall)
		return true
	}
	if d.attention[unit] && block[0] != 0x12 && block[0] != 0xa0 && block[0] != 0x03 {
		delete(d.attention, unit)
		d.fail(unit, 6, 0x28, length, toHost, FailEmpty)
		return true
	}
	if d.ejected[unit] && block[0] != 0x12 && block[0] != 0xa0 && block[0] != 0x03 {
		d.fail(unit, 2, 0x3a, length, toHost, FailEmpty)
		return true
	}
	sense := d.sense[unit]
	if d.attention[unit] && block[0] == 0x03 {
		delete(d.attention, unit)
		sense = [3]byte{6, 0x28, 0}
	}
	delete(d.sense, unit)
	switch block[0] {
	case 0x00, 0x1e, 0x1b, 0x2f: // TEST UNIT READY, PREVENT ALLOW, START STOP, VERIFY
		d.answer(nil, length, toHost)
	case 0x35, 0x91: // SYNCHRONIZE CACHE
		if d.cfg.NoSync {
			d.fail(unit, 5, 0x20, length, toHost, FailStall)
			return true
		}
		d.sync()
		d.answer(nil, length, toHost)
	case 0x1a, 0x5a: // MODE SENSE
		if d.cfg.Modes == nil {
			d.fail(unit, 5, 0x20, length, toHost, FailStall)
			return true
		}
		d.answer(d.modes(block), length, toHost)
	case 0x03: // REQUEST SENSE
		out := make([]byte, 18)
		out[0], out[2], out[7], out[12], out[13] = 0x70, sense[0], 10, sense[1], sense[2]
		d.answer(out[:min(len(out), int(block[4]))], length, toHost)
	case 0x12: // INQUIRY
		d.answer(d.inquire(block), length, toHost)
	case 0x25: // READ CAPACITY(10)
		out := binary.BigEndian.AppendUint32(nil, uint32(min(d.cfg.Blocks-1, 1<<32-1)))
		d.answer(binary.BigEndian.AppendUint32(out, d.cfg.BlockSize), length, toHost)
	case 0x9e: // READ CAPACITY(16)
		out := binary.BigEndian.AppendUint64(nil, d.cfg.Blocks-1)
		d.answer(append(binary.BigEndian.AppendUint32(out, d.cfg.BlockSize), make([]byte, 20)...), length, toHost)
	case 0x42: // UNMAP
		d.room, d.state, d.status, d.residue = int64(length), stateOut, statusPass, 0
		if !d.cfg.Pages || d.cfg.ReadOnly || toHost || length == 0 {
			d.fail(unit, 5, 0x20, length, toHost, FailStall)
		}
	case 0x28, 0x2a, 0x88, 0x8a:
		d.blocks(unit, block, length, toHost)
	default:
		if data := d.other(block); len(data) > 0 {
			d.answer(data, length, toHost)
		} else {
			d.fail(unit, 5, 0x20, length, toHost, FailStall)
		}
	}
	return true
}

// blocks handles READ and WRITE.
func (d *Disk) blocks(unit uint8, block []byte, length uint32, toHost bool) {
	first, count := uint64(binary.BigEndian.Uint32(block[2:])), uint64(binary.BigEndian.Uint16(block[7:]))
	if block[0]&0x80 != 0 {
		first, count = binary.BigEndian.Uint64(block[2:]), uint64(binary.BigEndian.Uint32(block[10:]))
	}
	isRead := block[0]&2 == 0
	bytes := count * uint64(d.cfg.BlockSize)
	switch {
	case first > d.cfg.Blocks || count > d.cfg.Blocks-first:
		d.fail(unit, 5, 0x21, length, toHost, FailStall)
		return
	case isRead != toHost && length > 0, bytes != uint64(length):
		d.fail(unit, 5, 0x24, length, toHost, FailStall)
		return
	case !isRead && d.cfg.ReadOnly:
		d.fail(unit, 7, 0x27, length, toHost, FailStall)
		return
	}
	fault := NoFault
	if d.cfg.Fault != nil && length > 0 {
		fault = d.cfg.Fault(block[0], unit, first, count)
	}
	if fault == FailStall || fault == FailEmpty {
		d.fail(unit, 3, 0x11, length, toHost, fault)
		return
	}
	d.fault, d.status, d.residue = fault, statusPass, 0
	if !isRead {
		d.room, d.state = int64(bytes), stateOut
		if bytes == 0 {
			d.state = stateStatus
		}
		return
	}
	for i := range count {
		b := d.block(unit, first+i)
		if d.cfg.Differs {
			b = slices.Repeat([]byte{byte(first + i), byte(d.commands), byte(d.commands >> 8), 15: 0}, len(b)/16)
		}
		d.data = append(d.data, b...)
	}
	d.state = stateIn
	switch {
	case bytes == 0:
		d.state = stateStatus
	case fault == ShortData:
		d.data, d.isShort = d.data[:len(d.data)/2], true
		d.residue = length - uint32(len(d.data))
	case fault == FailMiddle:
		d.data = d.data[:len(d.data)/2/d.cfg.MaxPacket*d.cfg.MaxPacket]
		d.sense[unit] = [3]byte{3, 0x11, 0}
		d.status, d.residue = statusFail, length-uint32(len(d.data))
	}
}

// write stores what was received.
func (d *Disk) write() {
	unit, block := d.wrapper[13], d.wrapper[15:]
	if block[0] == 0x42 {
		d.unmap(unit, d.received)
		d.finish(d.status, uint32(d.room))
		return
	}
	first := uint64(binary.BigEndian.Uint32(block[2:]))
	if block[0]&0x80 != 0 {
		first = binary.BigEndian.Uint64(block[2:])
	}
	size := int(d.cfg.BlockSize)
	for i := 0; (i+1)*size <= len(d.received); i++ {
		d.written[place{unit, first + uint64(i)}] = slices.Clone(d.received[i*size : (i+1)*size])
	}
	d.finish(d.status, uint32(d.room))
}

func (d *Disk) finish(status byte, residue uint32) {
	d.state, d.status, d.residue = stateStatus, status, residue
	if status == statusFail {
		d.sense[d.wrapper[13]] = [3]byte{3, 0x0c, 0}
	}
}

// answer sends data to the computer.
func (d *Disk) answer(data []byte, length uint32, toHost bool) {
	if length > 0 && (!toHost || len(data) == 0) {
		d.fail(d.wrapper[13], 5, 0x24, length, toHost, FailStall)
		return
	}
	d.data = data[:min(len(data), int(length))]
	d.isShort = len(d.data) < int(length)
	d.state, d.status, d.residue = stateIn, statusPass, length-uint32(len(d.data))
	if length == 0 {
		d.state = stateStatus
	}
}

// fail fails a command before its data.
func (d *Disk) fail(unit, key, code uint8, length uint32, toHost bool, how Fault) {
	d.finish(statusFail, length)
	d.sense[unit] = [3]byte{key, code, 0}
	switch {
	case length == 0:
	case how == FailEmpty && toHost:
		d.state, d.isShort = stateIn, true
	case toHost:
		d.halted[DiskIn] = true
	default:
		d.halted[DiskOut] = true
	}
}
