package storage

// pendingSense holds sense data of a command of the stage that the driver must see.
// The stage fails the driver's next command for the unit and answers the REQUEST
// SENSE after it, as the unit would have done (SAM-5, 5.14: a unit reports a unit
// attention with the next command).
//
//	empty ──keep──► waiting ──command fails──► reported ──next command──► empty
type pendingSense struct {
	sense    []byte
	reported bool // the driver's command has failed; REQUEST SENSE comes next
}

// Sense keys (SPC-4, table 48).
const (
	keyNoSense        = 0x0
	keyRecovered      = 0x1
	keyNotReady       = 0x2
	keyMediumError    = 0x3
	keyHardwareError  = 0x4
	keyIllegalRequest = 0x5
	keyAborted        = 0xb
)

const senseLength = 18 // bytes that the stage asks for: fixed format (SPC-4, 4.5.3)

// keep records sense data unless they concern only the command of the stage. Deferred
// errors (response codes 71h and 73h) concern an earlier write of the driver. keep
// reports whether it has recorded the sense data.
func (n *pendingSense) keep(sense []byte) bool {
	if len(sense) < 3 {
		return false
	}
	key := sense[2] & 0x0f // fixed format
	if code := sense[0] & 0x7f; code == 0x72 || code == 0x73 {
		key = sense[1] & 0x0f
	}
	if sense[0]&1 == 0 { // the current command, not a deferred error
		switch key {
		case keyNoSense, keyRecovered, keyMediumError, keyHardwareError, keyIllegalRequest, keyAborted:
			return false
		}
	}
	*n = pendingSense{sense: sense}
	return true
}

// answer returns the result of a command that ends because of pending sense data. It returns
// false if the command goes to the unit.
func (n *pendingSense) answer(w *wrapper) (data []byte, status byte, ok bool) {
	if n.sense == nil {
		return nil, 0, false
	}
	switch op := w.operation(); {
	case op == opInquiry || op == opReportLUNs: // they report no unit attention (SPC-4, 6.6.1 and 6.33)
		return nil, 0, false
	case op == opRequestSense:
		block := w.block()
		room := w.length()
		if len(block) >= 5 {
			room = min(room, uint32(block[4]))
		}
		data = n.sense[:min(uint32(len(n.sense)), room)]
		*n = pendingSense{}
		if !w.toHost() {
			data = nil
		}
		return data, statusPassed, true
	case n.reported:
		*n = pendingSense{}
		return nil, 0, false
	}
	n.reported = true
	return nil, statusFailed, true
}
