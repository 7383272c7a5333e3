package ahead

import "time"

// alarm calls pipe.tick at a time. The mu of the Stage guards it.
type alarm struct {
	timer *time.Timer // nil: none is set
	due   time.Time
}

// watch sets the alarm for the next moment at which the pipe has to do something by
// itself. An alarm that rings too early is set again.
func (p *pipe) watch() {
	due := p.expires
	if p.reading && len(p.wanted) == 0 {
		due = p.idle.Add(pauseTimeout)
	}
	a := &p.alarm
	switch {
	case due.IsZero() || p.stage.closed:
	case a.timer == nil:
		a.due = due
		a.timer = time.AfterFunc(time.Until(due), p.tick)
	case due.Before(a.due):
		a.due = due
		a.timer.Reset(time.Until(due))
	}
}

// tick ends the posting for a driver that pauses, and drops what is too old.
func (p *pipe) tick() {
	s := p.stage
	s.mu.Lock()
	now := time.Now()
	p.alarm.timer = nil
	switch {
	case s.closed:
	case p.reading && len(p.wanted) == 0 && !now.Before(p.idle.Add(pauseTimeout)):
		p.allowance /= decay
		p.withdraw()
	case !p.expires.IsZero() && !now.Before(p.expires):
		p.expires = time.Time{}
		p.dropArrived()
	}
	if !s.closed {
		p.advance()
	}
	s.mu.Unlock()
	s.box.Run()
}

func (p *pipe) stopTimer() {
	if p.alarm.timer != nil {
		p.alarm.timer.Stop()
	}
}
