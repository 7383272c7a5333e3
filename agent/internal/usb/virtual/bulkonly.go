package virtual

import (
	"encoding/binary"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// phase is the state of Bulk-Only Transport:
//
//	command ──▶ dataIn ──┐
//	   ▲ ├────▶ dataOut ─┼─▶ status
//	   │ └───────────────┘     │
//	   └───────────────────────┘
type phase uint8

const (
	phaseCommand phase = iota
	phaseDataIn
	phaseDataOut
	phaseStatus
)

// Values of bCSWStatus (5.2).
const (
	statusPassed = 0
	statusFailed = 1
	statusPhase  = 2
)

// Signatures and lengths of the command block wrapper (5.1) and the command
// status wrapper (5.2).
const (
	commandSignature = 0x43425355
	commandLength    = 31
	statusSignature  = 0x53425355
	statusLength     = 13
)

func (d *Disk) out(_ usb.Endpoint, data []byte) (int, outcome) {
	switch {
	case d.needsReset:
		return 0, stall
	case len(data) == 0:
		return 0, done // an empty packet that ends a transfer of full packets
	case d.phase == phaseCommand:
		return d.command(data)
	case d.phase == phaseDataOut:
		return d.receive(data)
	}
	return 0, wait // the computer must fetch the status first
}

func (d *Disk) in(_ usb.Endpoint, room []byte) (int, outcome) {
	switch {
	case d.needsReset:
		return 0, stall
	case len(room) == 0:
		return 0, done
	case d.phase == phaseDataIn:
		return d.send(room)
	case d.phase == phaseStatus:
		return d.status(room)
	}
	return 0, wait
}

// command handles a command block wrapper.
func (d *Disk) command(b []byte) (int, outcome) {
	if len(b) != commandLength || binary.LittleEndian.Uint32(b) != commandSignature ||
		b[12]&0x7f != 0 || b[13]&0xf0 != 0 || b[14] < 1 || b[14] > 16 {
		d.needsReset = true
		return 0, stall
	}
	d.tag = binary.LittleEndian.Uint32(b[4:])
	d.hostLeft = int64(binary.LittleEndian.Uint32(b[8:]))
	d.task = d.scsi.begin(b[13], b[15:15+b[14]])
	d.taskLeft, d.phase, d.cswStatus = d.task.length, phaseStatus, statusPassed
	if d.task.failed {
		d.cswStatus = statusFailed
	}
	toHost := b[12]&0x80 != 0
	switch {
	case d.hostLeft == 0 && d.taskLeft == 0: // case 1
	case d.hostLeft == 0: // cases 2 and 3
		d.cswStatus = statusPhase
	case d.taskLeft == 0: // cases 4 and 9
		d.refuse(toHost)
	case toHost != d.task.toHost: // cases 8 and 10
		d.cswStatus = statusPhase
		d.refuse(toHost)
	default:
		d.phase = phaseDataOut
		if toHost {
			d.phase = phaseDataIn
		}
		if d.taskLeft > d.hostLeft { // cases 7 and 13
			d.taskLeft, d.cswStatus = d.hostLeft, statusPhase
		}
	}
	return len(b), done
}

// refuse halts the endpoint on which the computer expects the data phase.
func (d *Disk) refuse(toHost bool) {
	if toHost {
		d.port.halt(diskIn)
	} else {
		d.port.halt(diskOut)
	}
}

// moved counts n bytes of the data phase as transferred.
func (d *Disk) moved(n int) {
	d.task.at += int64(n)
	d.taskLeft -= int64(n)
	d.hostLeft -= int64(n)
	if d.taskLeft == 0 {
		d.phase = phaseStatus
	}
}

// fail ends the data phase after an error of the store.
func (d *Disk) fail(s sense) (int, outcome) {
	d.scsi.sense = s
	d.phase, d.cswStatus = phaseStatus, statusFailed
	return 0, stall
}

// send copies data of the task to room.
func (d *Disk) send(room []byte) (int, outcome) {
	if !fits(len(room), int(d.taskLeft), d.maxPacket) {
		return 0, babble
	}
	n := min(len(room), int(d.taskLeft))
	if err := d.scsi.read(d.task, room[:n]); err != nil {
		return d.fail(senseReadError)
	}
	d.moved(n)
	unended := n < len(room) && n%d.maxPacket == 0 // no short packet has ended the transfer
	switch {
	case d.taskLeft > 0:
		return n, done
	case d.hostLeft > 0 && unended: // case 5
		return n, stall
	case d.hostLeft > 0: // case 5; the halt keeps the computer from reading the status as data
		d.port.halt(diskIn)
		return n, done
	case unended: // the computer reads more than it announced: it receives the status too
		return n, wait
	}
	return n, done
}

// receive handles data from the computer.
func (d *Disk) receive(data []byte) (int, outcome) {
	n := min(len(data), int(d.taskLeft))
	if err := d.scsi.write(d.task, data[:n]); err != nil {
		return d.fail(senseWriteError)
	}
	d.moved(n)
	switch {
	case n < len(data):
		return n, stall // case 11, or more data than announced
	case d.taskLeft == 0 && d.hostLeft > 0: // case 11
		d.port.halt(diskOut)
	case n%d.maxPacket != 0:
		d.phase = phaseStatus // a short packet ends the data phase
	}
	return n, done
}

// status sends the command status wrapper.
func (d *Disk) status(room []byte) (int, outcome) {
	if len(room) < statusLength {
		return 0, babble
	}
	binary.LittleEndian.PutUint32(room, statusSignature)
	binary.LittleEndian.PutUint32(room[4:], d.tag)
	binary.LittleEndian.PutUint32(room[8:], uint32(d.hostLeft))
	room[12] = d.cswStatus
	d.phase = phaseCommand
	return statusLength, done
}
