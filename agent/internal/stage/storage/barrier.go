package storage

import (
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// begin handles a command of the driver that the write cache concerns. It returns
// false for other commands. mu must be held.
func (k *cache) begin(c *command) bool {
	s, w := k.stage, &c.wrapper
	u := s.ahead.unit(w.unit())
	if !k.on || !u.pending.isOver(w) {
		return false
	}
	k.heed(w)
	e, ok := w.extent()
	switch {
	case k.mayHold(w, u):
		c.write = &write{extent: e, stage: s, unit: u, wrapper: *w, data: make([]byte, 0, w.length())}
	case ok && !w.writes():
		return k.read(c, u, e)
	case w.isModeSense() && u.cache.isDisk && w.toHost() && w.length() <= usb.MaxTransfer:
		k.ask(c)
	case w.effect() == nothing && !w.isSync() && !w.mustFollowWrites():
		return false
	default:
		k.await(c)
	}
	return true
}

// read handles a READ. It returns false if the device answers it.
func (k *cache) read(c *command, u *unit, e extent) bool {
	s := k.stage
	if u.cache.hasLostIn(e) {
		s.fail(c, lostSense(codeUnreadable))
		return true
	}
	if !k.overlaps(u, e) {
		return false
	}
	data := k.find(u, e)
	if data == nil || !c.wrapper.isRead() || int(c.wrapper.length()) != len(data) {
		k.await(c)
		return true
	}
	s.hits++
	s.reply(c, data, statusPassed)
	return true
}

// meetMedium forgets what a medium that is gone has lost, when the driver asks for the
// capacity of the new one. mu must be held.
func (u *unit) meetMedium(w *wrapper) {
	isCapacity := w.operation() == opReadCapacity10 || w.operation() == opServiceActionIn16
	if u.cache.isNew && isCapacity && u.pending.sense == nil {
		u.cache.isNew, u.cache.lost = false, nil
	}
}

// heed gives up the writes of a unit whose driver does not read why its command has
// failed: the medium may be another one. mu must be held.
func (k *cache) heed(w *wrapper) {
	for n, u := range k.stage.ahead.units {
		if u == nil || !u.cache.suspect {
			continue
		}
		if n != int(w.unit()) || w.operation() != opRequestSense {
			k.loseUnit(u)
		}
		u.cache.suspect = false
	}
}

// await lets a command wait until no write is left. mu must be held.
func (k *cache) await(c *command) {
	c.waits = true
	k.held = false
	k.advance()
}

// proceed runs a command that no write stands in the way of. mu must be held.
func (k *cache) proceed(c *command) {
	s, w := k.stage, &c.wrapper
	u := s.ahead.unit(w.unit())
	stops := w.operation() == opStartStop
	e, ok := w.extent()
	isRead := ok && !w.writes()
	switch {
	case len(k.writes) > 0 && (!w.isSync() || u.cache.hasLost() || u.cache.noSync):
		return // until all are done
	case u.cache.hasLost() && (w.isSync() || stops && !u.cache.toldStop || w.writes() && !w.isWrite()):
		u.cache.toldStop = u.cache.toldStop || stops
		s.fail(c, lostSense(codeWriteError))
	case isRead && u.cache.hasLostIn(e):
		s.fail(c, lostSense(codeUnreadable))
	case w.isSync() && u.cache.noSync:
		s.replyStatus(c, 0, statusPassed)
	case w.isSync() && w.length() == 0:
		k.ask(c)
	default:
		c.waits = false
		s.run(c)
		return
	}
	c.waits = false
}

// written records that the device has done a command of the driver. mu must be held.
func (k *cache) written(c *command) {
	w := &c.wrapper
	if e, ok := w.extent(); ok && w.writes() {
		u := k.stage.ahead.unit(w.unit())
		u.cache.isProven = true
		u.cache.lost = subtract(u.cache.lost, e)
	}
}

// subtract returns the blocks of list that are not in e.
func subtract(list []extent, e extent) []extent {
	var left []extent
	for _, l := range list {
		if !l.overlaps(e) {
			left = append(left, l)
			continue
		}
		if l.first < e.first {
			left = append(left, extent{l.first, e.first - l.first})
		}
		if l.end() > e.end() {
			left = append(left, extent{e.end(), l.end() - e.end()})
		}
	}
	return left
}

// suspect handles a command of the driver that has failed. The driver reads the sense
// data first: no write may reach the device before. mu must be held.
func (k *cache) suspect(u *unit) {
	k.held = true
	u.cache.isProven = false
	u.cache.suspect = true
	k.arm()
}

// idle is called when the driver has fetched the status of a command. mu must be held.
func (k *cache) idle() {
	for _, u := range k.stage.ahead.units {
		if u != nil && u.cache.suspect {
			k.arm()
			return
		}
	}
	k.held = false
	k.send()
}

// notice reads sense data of a unit, its own or those that the driver has fetched. mu
// must be held.
func (s *Stage) notice(u *unit, sense []byte) {
	key, code := keyOf(sense)
	if key != keyUnitAttention {
		return
	}
	u.cache.isProven = false
	s.ahead.dropAll()
	if code == codeNewMedium || code == codeNewTarget {
		s.cache.loseUnit(u)
		u.cache.isNew = true
	}
}

// arm starts the timer for what could wait for ever. mu must be held.
func (k *cache) arm() {
	s := k.stage
	if k.timer != nil || s.closed || len(k.writes) == 0 {
		return
	}
	k.timer = time.AfterFunc(heldTimeout, func() {
		s.mu.Lock()
		k.timer = nil
		if !s.closed {
			k.force()
			k.arm()
		}
		s.mu.Unlock()
		s.box.Run()
	})
}

// force sends the writes although the driver has not begun a command after a failure.
// In the mode passing, it resets the device first. mu must be held.
func (k *cache) force() {
	s := k.stage
	switch {
	case !k.isNeeded() && k.flush.unsynced() < 0:
	case s.mode == passing && s.passed.count == 0 && s.chosen:
		s.passed.left = stream{}
		s.drain.needsReset = true
		s.drain.begin(busy, false)
	case s.mode == idle || s.mode == busy:
		for _, u := range s.ahead.units {
			if u != nil && u.cache.suspect {
				k.loseUnit(u)
				u.cache.suspect = false
			}
		}
		k.held = false
		k.advance()
	}
}

// mustFlush reports whether a request takes the disk away from its driver, while writes
// are left. mu must be held.
func (k *cache) mustFlush(u *usb.URB) bool {
	change := u.SetupPacket().Change()
	return len(k.writes) > 0 && k.stage.chosen && (change == usb.SetConfiguration || change == usb.SetInterface)
}

// forgetDriver makes the write cache wait until a new driver has read of it.
func (a *ahead) forgetDriver() {
	for _, u := range a.units {
		if u != nil {
			u.cache.isKnown = false
		}
	}
}

// isOff reports whether the stage passes all URBs. It does not while the cache is needed.
// mu must be held.
func (s *Stage) isOff() bool { return s.off != "" && !s.cache.isNeeded() }

// isNeeded reports whether the disk lacks a write that the driver believes to be done. mu
// must be held.
func (k *cache) isNeeded() bool {
	return len(k.writes) > 0 ||
		slices.ContainsFunc(k.stage.ahead.units[:], func(u *unit) bool { return u != nil && u.cache.hasLost() })
}

// isPartial reports whether only the stage can end the command.
func (c *command) isPartial() bool {
	return c != nil && !c.ended && (c.write != nil || len(c.collected) > 0 || c.waits || c.question != nil)
}
