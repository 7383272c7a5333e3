package stagetest

import (
	"encoding/binary"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// run makes progress until the URBs are used up or must wait.
func (d *Disk) run() {
	for d.runOut() || d.runIn() {
	}
}

func (d *Disk) runOut() bool {
	if len(d.outs) == 0 {
		return false
	}
	u := d.outs[0]
	status := usb.StatusOK
	switch {
	case d.needsReset, d.halted[DiskOut]:
		status = usb.StatusStall
	case len(u.Data) == 0:
	case d.state == stateCommand:
		if !d.command(u.Data) {
			d.needsReset = true
			status = usb.StatusStall
		} else {
			u.Actual = len(u.Data)
		}
	case d.state == stateOut:
		status = d.receive(u)
	default:
		return false
	}
	d.outs = d.outs[1:]
	d.box.Finish(u, status)
	return true
}

// receive takes data of the computer.
func (d *Disk) receive(u *usb.URB) usb.Status {
	n := min(int64(len(u.Data)), d.room)
	if d.fault == FailMiddle && d.room-n <= d.room/2 {
		d.halted[DiskOut] = true
		d.finish(statusFail, uint32(d.room))
		return usb.StatusStall
	}
	d.received = append(d.received, u.Data[:n]...)
	d.room -= n
	u.Actual = int(n)
	if n < int64(len(u.Data)) {
		d.halted[DiskOut] = true
		d.write()
		return usb.StatusStall
	}
	switch {
	case d.room == 0:
		d.write()
	case len(u.Data)%d.cfg.MaxPacket != 0: // a short packet ends the data too early
		d.halted[DiskOut] = true
		d.finish(statusFail, uint32(d.room))
	}
	return usb.StatusOK
}

func (d *Disk) runIn() bool {
	if len(d.ins) == 0 {
		return false
	}
	u := d.ins[0]
	status := usb.StatusOK
	switch {
	case d.needsReset, d.halted[DiskIn]:
		status = usb.StatusStall
	case len(u.Data) == 0:
	case d.state == stateIn && d.fault == Hang:
		return false
	case d.state == stateIn:
		var done bool
		if status, done = d.send(u); !done {
			return false
		}
	case d.state == stateStatus:
		status = d.sendStatus(u)
	default:
		return false
	}
	d.ins = d.ins[1:]
	d.box.Finish(u, status)
	return true
}

// send sends data for the computer.
func (d *Disk) send(u *usb.URB) (usb.Status, bool) {
	room := len(u.Data) - u.Actual
	if len(d.data) > room && room%d.cfg.MaxPacket != 0 {
		return usb.StatusOverflow, true
	}
	n := copy(u.Data[u.Actual:], d.data)
	d.data = d.data[n:]
	u.Actual += n
	if len(d.data) > 0 {
		return usb.StatusOK, true
	}
	full := u.Actual == len(u.Data)
	switch {
	case d.fault == FailMiddle:
		d.halted[DiskIn] = !full
		d.fault, d.data = NoFault, nil
		if full { // the halt comes with the next transfer
			d.state = stateStatus
			d.halted[DiskIn] = true
			return usb.StatusOK, true
		}
		d.state = stateStatus
		return usb.StatusStall, true
	case d.fault == Endless:
		d.data = make([]byte, d.cfg.MaxPacket)
		return usb.StatusOK, full
	}
	d.state = stateStatus
	d.halted[DiskIn] = d.cfg.Halts && d.isShort
	if n%d.cfg.MaxPacket != 0 || d.isShort && !full || full {
		return usb.StatusOK, true
	}
	return usb.StatusOK, false // the status follows in the same transfer
}

func (d *Disk) sendStatus(u *usb.URB) usb.Status {
	if d.fault == StallStatus {
		d.fault = NoFault
		d.halted[DiskIn] = true
		return usb.StatusStall
	}
	b := make([]byte, 13)
	copy(b, "USBS")
	copy(b[4:8], d.wrapper[4:8])
	binary.LittleEndian.PutUint32(b[8:], d.residue)
	b[12] = d.status
	switch d.fault {
	case WrongTag:
		b[4]++
	case WrongSign:
		b[0]++
	case PhaseError:
		b[12] = 2
	case WrongLength:
		binary.LittleEndian.PutUint32(b[8:], 1<<30)
	}
	if len(u.Data)-u.Actual < len(b) {
		return usb.StatusOverflow
	}
	u.Actual += copy(u.Data[u.Actual:], b)
	d.state, d.fault = stateCommand, NoFault
	return usb.StatusOK
}
