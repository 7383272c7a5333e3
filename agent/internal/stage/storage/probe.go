package storage

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
)

// answersTTL is the age at which the stage forgets the answer to a command, counted from
// the time when the command was sent: the link may be lost meanwhile. A driver learns
// by TEST UNIT READY whether the medium has changed, every two seconds or less often
// (Linux: block/disk-events.c). So it never gets the answer to the previous one.
const answersTTL = time.Second

const maxAnswers = 8 // of one unit

// Bytes at the start of a disk that are read ahead. Drivers look there for partitions:
// the first 4 KiB hold the master boot record, the rest a GUID partition table.
const (
	bootBytes  = pageBytes
	tableBytes = 28 << 10
)

// answer holds what a unit has answered to a command without side effects, or is going to
// answer to a command of the stage:
//
//	under way ──► arrived ──► dropped: too old, or anything may have changed it
//	    └─────────────────────────▲ failed
type answer struct {
	wrapper wrapper // of the command
	data    []byte
	residue uint32
	sense   []byte // not nil: the command fails with them
	sent    time.Time
	arrived bool
	dropped bool
	isAhead bool // the stage has asked, and no driver has got the answer
}

// answers holds the answers of one unit. A driver asks the same again and again when a
// disk is attached: Linux runs TEST UNIT READY, READ CAPACITY and MODE SENSE at least
// twice (drivers/scsi/sd.c, sd_revalidate_disk). The device gets each TEST UNIT READY but
// the first one, and reports a change there, after which the stage drops all answers.
type answers struct {
	list  []*answer
	again bool // the unit must be probed once more, after its unit attention
}

// isRepeatable reports whether the answer to w is the same until the medium, the
// parameters or the unit change. TEST UNIT READY asks whether they have changed, so its
// answer serves once.
func (w *wrapper) isRepeatable() bool {
	switch w.operation() {
	case opInquiry, opModeSense6, opModeSense10, opReadCapacity10:
		return w.length() == 0 || w.toHost()
	case opServiceActionIn16:
		return w.effect() == nothing && w.toHost()
	}
	return false
}

// answers reports whether k is the answer to w too.
func (k *answer) answers(w *wrapper) bool {
	return k.wrapper.length() == w.length() && bytes.Equal(k.wrapper.block(), w.block()) &&
		(w.length() == 0 || w.toHost())
}

// find returns the answer to w, or nil.
func (a *answers) find(w *wrapper, now time.Time) *answer {
	for _, k := range a.list {
		if now.Sub(k.sent) < answersTTL && k.answers(w) {
			return k
		}
	}
	return nil
}

// add adds an answer in place of an older one.
func (a *ahead) addAnswer(u *unit, k *answer) {
	for _, old := range slices.Clone(u.answers.list) {
		if old.answers(&k.wrapper) || len(u.answers.list) >= maxAnswers {
			a.dropAnswer(u, old)
		}
	}
	u.answers.list = append(u.answers.list, k)
}

func (a *ahead) dropAnswer(u *unit, k *answer) {
	i := slices.Index(u.answers.list, k)
	if i < 0 {
		return
	}
	k.dropped = true
	u.answers.list = slices.Delete(u.answers.list, i, i+1)
	if k.isAhead {
		a.dropped += int64(len(k.data))
	}
}

// dropAnswers drops all answers of a unit.
func (a *ahead) dropAnswers(u *unit) {
	for len(u.answers.list) > 0 {
		a.dropAnswer(u, u.answers.list[0])
	}
}

// remember keeps the answer that the driver has got from the device. mu must be held.
func (a *ahead) remember(x *exchange) {
	w := &x.wrapper
	if !w.isRepeatable() || x.data != nil && (!x.hasData || x.data.Actual > maxAnswer) {
		return
	}
	k := &answer{wrapper: *w, sent: x.start.at, arrived: true, residue: binary.LittleEndian.Uint32(x.status.Data[8:])}
	if x.data != nil {
		k.data = x.data.Data[:x.data.Actual]
	}
	a.addAnswer(a.unit(w.unit()), k)
}

const maxAnswer = 4 << 10 // bytes of an answer that is kept

// checkAnswer answers the driver's command if its answer has arrived, and sends it to
// the device if it never will. mu must be held.
func (s *Stage) checkAnswer(c *command) {
	k := c.answer
	switch {
	case k.dropped && !k.arrived:
		c.answer = nil
		s.exchanges.launch(c)
	case !k.arrived:
	case k.sense != nil:
		u := s.ahead.unit(c.wrapper.unit())
		u.pending = pendingSense{sense: k.sense, reported: true}
		s.ahead.dropAnswer(u, k)
		s.replyStatus(c, c.wrapper.length(), statusFailed)
	default:
		k.isAhead = false
		if !k.wrapper.isRepeatable() {
			s.ahead.dropAnswer(s.ahead.unit(c.wrapper.unit()), k)
		}
		if length := int(c.wrapper.length()); length > 0 {
			isShort := len(k.data) < length || length%s.place.maxPacket != 0
			c.stream.add(chunk{data: k.data, isShort: isShort})
		}
		s.replyStatus(c, k.residue, statusPassed)
	}
}

// probe asks unit 0 ahead what every driver asks a disk after INQUIRY: whether it is
// ready, its capacity, and its first blocks. The commands follow the INQUIRY of the driver, so the
// disk gets none earlier than without the stage. mu must be held.
func (f *exchanges) probe() {
	s := f.stage
	u := s.ahead.unit(0)
	u.answers.again = false
	if !s.place.isSCSI || s.off != "" || u.pending.sense != nil {
		return
	}
	for _, p := range []struct {
		block  []byte
		length uint32
	}{{make([]byte, 6), 0}, {[]byte{opReadCapacity10, 9: 0}, 8}} {
		w := f.newWrapper(0, p.length, p.block)
		if k := u.answers.find(&w, time.Now()); k != nil && !k.arrived {
			continue
		}
		k := &answer{wrapper: w, sent: time.Now(), isAhead: true}
		s.ahead.addAnswer(u, k)
		f.run(w, answerFetch{stage: s, unit: u, answer: k})
	}
}

// answerFetch is the errand that fetches an answer.
type answerFetch struct {
	stage  *Stage
	unit   *unit
	answer *answer
}

func (p answerFetch) done(x *exchange, _ verdict) {
	s, k := p.stage, p.answer
	if x.data != nil {
		k.data = x.data.Data[:x.data.Actual]
		s.ahead.fetched += int64(len(k.data))
	}
	if time.Since(k.sent) >= answersTTL {
		s.ahead.dropAnswer(p.unit, k)
		return
	}
	if k.dropped {
		s.ahead.dropped += int64(len(k.data))
		return
	}
	k.arrived = true
	k.residue = binary.LittleEndian.Uint32(x.status.Data[8:])
	s.learn(&x.wrapper, k.data)
	if x.wrapper.operation() == opReadCapacity10 && s.mode != draining {
		s.exchanges.readBoot(p.unit)
	}
}

// failed keeps the error of a unit without a medium for the driver, because the device
// gives it with each command, and what the device gives only once.
func (p answerFetch) failed(_ *exchange, sense []byte) {
	s, u := p.stage, p.unit
	wasDropped := p.answer.dropped
	s.ahead.dropAnswers(u)
	s.notice(u, sense)
	isFixed := len(sense) > 2 && sense[0]&0x7f == 0x70
	switch {
	case isFixed && sense[2]&0x0f == keyNotReady:
		if !wasDropped && p.answer.wrapper.operation() == opTestUnitReady {
			s.ahead.addAnswer(u, &answer{wrapper: p.answer.wrapper, sense: sense, sent: p.answer.sent, arrived: true})
		}
	case u.pending.keep(sense):
		s.ahead.dropAll()
		s.ahead.setCapacity(u, 0, 0)
		u.answers.again = true
	}
}

func (p answerFetch) unreached(*exchange) { p.stage.ahead.dropAnswer(p.unit, p.answer) }

// readBoot reads the start of a disk ahead. mu must be held.
func (f *exchanges) readBoot(u *unit) {
	s := f.stage
	size := uint64(u.blockSize)
	if u.hasBoot || size == 0 || u.blocks < (bootBytes+tableBytes)/size+endDistance {
		return
	}
	w := newWrapper(0, 0, 0, []byte{opRead10, 9: 0})
	boot := u.page(extent{0, u.blocks}, 0)
	if s.ahead.isTaken(u, boot) || !s.ahead.makeRoom(bootBytes+tableBytes, time.Now()) {
		return
	}
	u.hasBoot = true
	first := s.ahead.add(u, boot)
	f.run(
		f.newWrapper(0, bootBytes, w.at(boot)), bootFetch{readingAhead{stage: s, segment: first}})
	if table := (extent{boot.end(), tableBytes / size}); !s.ahead.isTaken(u, table) {
		f.readAhead(&w, []*segment{s.ahead.add(u, table)})
	}
}
