package storage

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// question is the errand that runs a command of the driver for the stage, which answers
// the driver in its own words: MODE SENSE and SYNCHRONIZE CACHE with a write cache.
type question struct {
	stage    *Stage
	command  *command
	unit     *unit
	attempts int
	waits    bool // it has not reached the device
}

// ask runs the driver's command. mu must be held.
func (k *cache) ask(c *command) {
	s := k.stage
	q := &question{stage: s, command: c, unit: s.ahead.unit(c.wrapper.unit())}
	c.question = q
	q.post()
}

func (q *question) post() {
	n := 0
	if q.command.wrapper.toHost() {
		n = int(q.command.wrapper.length())
	}
	q.waits = false
	x := &exchange{wrapper: q.command.wrapper, errand: q}
	q.stage.exchanges.post(x, n, true)
}

// isCurrent reports whether the driver still waits for the answer.
func (q *question) isCurrent() bool { return q.stage.cmd == q.command && !q.command.ended }

func (q *question) done(x *exchange, _ verdict) {
	s, c := q.stage, q.command
	switch {
	case !q.isCurrent():
	case c.wrapper.isSync() && q.unit.cache.hasLost():
		s.fail(c, lostSense(codeWriteError))
	case c.wrapper.isSync():
		q.unit.cache.unsynced = false
		s.replyStatus(c, 0, statusPassed)
	default:
		var data []byte
		if x.data != nil {
			data = x.data.Data[:x.data.Actual]
		}
		q.answerModes(data)
	}
}

func (q *question) failed(_ *exchange, sense []byte) {
	s, c := q.stage, q.command
	s.notice(q.unit, sense)
	key, _ := keyOf(sense)
	switch {
	case !q.isCurrent():
	case len(sense) == 0: // as if the transfer of the status had failed
		c.stream.add(chunk{status: usb.StatusProtocol})
		c.ended = true
	case key == keyIllegalRequest && c.wrapper.isSync():
		q.unit.cache.noSync = true
		s.replyStatus(c, 0, statusPassed)
	case key == keyIllegalRequest && c.wrapper.asksForCaching():
		q.answerModes(nil)
	default:
		s.fail(c, sense)
	}
	s.pump()
}

func (q *question) unreached(*exchange) {
	s := q.stage
	if !q.isCurrent() || s.drain.cancels {
		return
	}
	if q.attempts++; q.attempts >= maxAttempts {
		s.turnOff("the host dropped a command without a reason")
		q.failed(nil, nil)
		return
	}
	q.waits = true
	if s.mode == busy {
		s.drain.begin(busy, false)
	}
}

// repeat runs the command again if it has not reached the device. mu must be held.
func (q *question) repeat() {
	if q == nil || !q.waits || !q.isCurrent() {
		return
	}
	if q.command.wrapper.isSync() {
		q.command.question = nil
		q.stage.cache.await(q.command)
		return
	}
	q.post()
}

// fail ends a command of the driver with sense data, which the driver then fetches. mu
// must be held.
func (s *Stage) fail(c *command, sense []byte) {
	select {
	case <-s.Gone():
		c.stream.add(chunk{status: usb.StatusNoDevice})
		c.ended = true
		s.pump()
		return
	default:
	}
	s.ahead.unit(c.wrapper.unit()).pending = pendingSense{sense: sense, reported: true}
	s.reply(c, nil, statusFailed)
}
