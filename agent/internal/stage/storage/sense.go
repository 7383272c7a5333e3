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
	keyUnitAttention  = 0x6
	keyAborted        = 0xb
)

// Additional sense codes and qualifiers (SPC-4, annex F.2).
const (
	codeWriteError = 0x0c00
	codeUnreadable = 0x1100
	codeNewMedium  = 0x2800 // the medium may have changed
	codeNewTarget  = 0x3f03 // INQUIRY data have changed
)

// keyOf returns the sense key, and the code and its qualifier, of sense data in fixed or
// descriptor format. They are 0 if they are missing.
func keyOf(sense []byte) (key uint8, code uint16) {
	at, codeAt := 2, 12
	if len(sense) > 0 && sense[0]&0x7f >= 0x72 {
		at, codeAt = 1, 2
	}
	if len(sense) > at {
		key = sense[at] & 0x0f
	}
	if len(sense) > codeAt+1 {
		code = uint16(sense[codeAt])<<8 | uint16(sense[codeAt+1])
	}
	return key, code
}

// isDeferred reports whether sense data concern an earlier command, and the current one
// was not run (SPC-4, 4.5.7).
func isDeferred(sense []byte) bool { return len(sense) > 0 && sense[0]&1 != 0 }

// lostSense returns sense data for blocks that the write cache has lost.
func lostSense(code uint16) []byte {
	return []byte{0: 0x70, 2: keyMediumError, 7: senseLength - 8, 12: byte(code >> 8), 13: byte(code), 17: 0}
}

const senseLength = 18 // bytes that the stage asks for: fixed format (SPC-4, 4.5.3)

// keep records sense data unless they concern only the command of the stage. Deferred
// errors (response codes 71h and 73h) concern an earlier write of the driver. keep
// reports whether it has recorded the sense data.
func (n *pendingSense) keep(sense []byte) bool {
	if len(sense) < 3 {
		return false
	}
	if !isDeferred(sense) {
		switch key, _ := keyOf(sense); key {
		case keyNoSense, keyRecovered, keyMediumError, keyHardwareError, keyIllegalRequest, keyAborted:
			return false
		}
	}
	*n = pendingSense{sense: sense}
	return true
}

// isOver reports whether the driver sees no sense data with its next command. If it has
// not fetched those of the command before, it never will.
func (n *pendingSense) isOver(w *wrapper) bool {
	if op := w.operation(); n.reported && op != opRequestSense && op != opInquiry && op != opReportLUNs {
		*n = pendingSense{}
	}
	return n.sense == nil
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
	case n.isOver(w):
		return nil, 0, false
	}
	n.reported = true
	return nil, statusFailed, true
}
