package transport

import "time"

// best returns the link to send on, and one that has to stay up although it is not used now. Either may be nil.
func (t *Transport) best() (best, spare *linkRunner) {
	best = highest(t.links, func(*linkRunner) bool { return true })
	tcp := highest(t.links, (*linkRunner).mayReplaceUDP)
	if tcp == nil {
		t.choice.linkLost()
	}
	if tcp == nil || !overUDP(best.info.Path) || !t.choice.keepsBoth() {
		return best, nil
	}
	if t.choice.overTCP {
		return tcp, best
	}
	return best, tcp
}

// highest returns the ready link of the highest order that matches, or nil.
func highest(links map[*linkRunner]struct{}, match func(*linkRunner) bool) (best *linkRunner) {
	for l := range links {
		if l.isReady() && match(l) && (best == nil || l.order.compare(best.order) > 0) {
			best = l
		}
	}
	return best
}

func (l *linkRunner) mayReplaceUDP() bool { return !l.left && mayReplaceUDP(l.info.Path) }

// choose makes the best of the ready links the active one.
func (t *Transport) choose() {
	best, spare := t.best()
	now := time.Now()
	for l := range t.links {
		switch {
		case l == best || l == spare:
			l.retired = time.Time{}
		case l.isReady() && l.retired.IsZero():
			l.retired = now
			l.used.Store(false)
		}
	}
	last := t.active
	if best == last {
		return
	}
	if best == nil || last == nil {
		t.since = now
	}
	t.active = best
	t.state.setActive(best)
	if best == nil {
		// The budget begins with the last frame from the peer, not when the loss was noticed.
		t.lostAt = time.Unix(0, last.heard.Load())
		t.counters.losses.Add(1)
		t.publish()
		t.handler.LinkDown(t.reason)
		return
	}
	t.lostAt = time.Time{}
	t.counters.switches.Add(1)
	t.publish()
	path := best.info.Path
	t.log.Info("link is active", "link", path.Rank.String(), "remote_addr", path.Remote)
	t.handler.LinkUp(path)
}

// sampleIfDue makes Run sample the active link every sampleInterval. It is called when an Ack arrives, so it costs
// nothing while nothing is sent. now is in nanoseconds since 1970.
func (t *Transport) sampleIfDue(now int64) {
	at := t.sampleAt.Load()
	if now >= at && t.sampleAt.CompareAndSwap(at, now+int64(sampleInterval)) {
		t.inbox.post(sampleEvent{})
	}
}

// sample measures the active link and may choose another one.
func (t *Transport) sample(now time.Time) {
	if t.active == nil || !t.active.chooses {
		return
	}
	isOther := (*linkRunner).mayReplaceUDP
	if t.choice.overTCP {
		isOther = func(l *linkRunner) bool { return overUDP(l.info.Path) }
	}
	reason := t.choice.reason()
	switch t.choice.sample(now, t.active.link, t.state.total(), highest(t.links, isOther) != nil) {
	case stepSeek:
		t.handler.SeekLink()
	case stepMove:
		t.choose()
	}
	if now := t.choice.reason(); now != reason {
		t.log.Info("link was chosen by measurement", "link", t.active.info.Path.Rank.String(), "reason", now)
		t.publish()
	}
}
