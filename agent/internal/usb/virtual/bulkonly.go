package virtual

import (
	"encoding/binary"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// phase is where Bulk-Only Transport stands:
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

// bCSWStatus.
const (
	statusPassed = 0
	statusFailed = 1
	statusPhase  = 2
)

// Wrappers (5.1, 5.2).
const (
	commandSignature = 0x43425355
	commandLength    = 31
	statusSignature  = 0x53425355
	statusLength     = 13
)

func (d *Disk) out(_ usb.Endpoint, data []byte) (int, outcome) {
	switch {
	case d.wedged:
		return 0, stall
	case len(data) == 0:
		return 0, done // an empty packet closes a transfer that is over already
	case d.phase == phaseCommand:
		return d.command(data)
	case d.phase == phaseDataOut:
		return d.receive(data)
	}
	return 0, wait // the status has not been fetched
}

func (d *Disk) in(_ usb.Endpoint, room []byte) (int, outcome) {
	switch {
	case d.wedged:
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

// command takes a command block wrapper.
func (d *Disk) command(b []byte) (int, outcome) {
	if len(b) != commandLength || binary.LittleEndian.Uint32(b) != commandSignature ||
		b[12]&0x7f != 0 || b[13]&0xf0 != 0 || b[14] < 1 || b[14] > 16 {
		d.wedged = true
		return 0, stall
	}
	d.tag = binary.LittleEndian.Uint32(b[4:])
	d.host = int64(binary.LittleEndian.Uint32(b[8:]))
	d.task = d.scsi.begin(b[13], b[15:15+b[14]])
	d.left, d.phase, d.verdict = d.task.length, phaseStatus, statusPassed
	if d.task.failed {
		d.verdict = statusFailed
	}
	toHost := b[12]&0x80 != 0
	switch {
	case d.host == 0 && d.left == 0: // case 1
	case d.host == 0: // cases 2 and 3
		d.verdict = statusPhase
	case d.left == 0: // cases 4 and 9
		d.refuse(toHost)
	case toHost != d.task.toHost: // cases 8 and 10
		d.verdict = statusPhase
		d.refuse(toHost)
	default:
		d.phase = phaseDataOut
		if toHost {
			d.phase = phaseDataIn
		}
		if d.left > d.host { // cases 7 and 13
			d.left, d.verdict = d.host, statusPhase
		}
	}
	return len(b), done
}

// refuse halts the endpoint on which the computer expects a data phase.
func (d *Disk) refuse(toHost bool) {
	if toHost {
		d.port.halt(diskIn)
	} else {
		d.port.halt(diskOut)
	}
}

// moved counts bytes of the data phase.
func (d *Disk) moved(n int) {
	d.task.at += int64(n)
	d.left -= int64(n)
	d.host -= int64(n)
	if d.left == 0 {
		d.phase = phaseStatus
	}
}

// fail ends the data phase because the store has failed.
func (d *Disk) fail(s sense) (int, outcome) {
	d.scsi.sense = s
	d.phase, d.verdict = phaseStatus, statusFailed
	return 0, stall
}

// send fills room from the task's data.
func (d *Disk) send(room []byte) (int, outcome) {
	if !fits(len(room), int(d.left), d.maxPacket) {
		return 0, babble
	}
	n := min(len(room), int(d.left))
	if err := d.scsi.read(d.task, room[:n]); err != nil {
		return d.fail(senseReadError)
	}
	d.moved(n)
	unended := n < len(room) && n%d.maxPacket == 0 // no short packet has ended the transfer
	switch {
	case d.left > 0:
		return n, done
	case d.host > 0 && unended: // case 5
		return n, stall
	case d.host > 0: // case 5; what is read before the halt is cleared is not the status
		d.port.halt(diskIn)
		return n, done
	case unended: // the computer asked for more than it announced: the status follows
		return n, wait
	}
	return n, done
}

// receive takes data for the task.
func (d *Disk) receive(data []byte) (int, outcome) {
	n := min(len(data), int(d.left))
	if err := d.scsi.write(d.task, data[:n]); err != nil {
		return d.fail(senseWriteError)
	}
	d.moved(n)
	switch {
	case n < len(data):
		return n, stall // case 11, or more than was announced
	case d.left == 0 && d.host > 0: // case 11
		d.port.halt(diskOut)
	case n%d.maxPacket != 0:
		d.phase = phaseStatus // a short packet ends the data, however much was announced
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
	binary.LittleEndian.PutUint32(room[8:], uint32(d.host))
	room[12] = d.verdict
	d.phase = phaseCommand
	return statusLength, done
}
