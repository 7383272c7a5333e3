package storage

import (
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Bounds of the writes of one device that the driver believes to be done.
const (
	maxUnwritten  = 32 << 20         // bytes
	minUnwritten  = 1 << 20          // bytes, however slow the device is
	unwrittenTime = 4 * time.Second  // in which the device writes them; SYNCHRONIZE CACHE takes as long
	unwrittenTTL  = 30 * time.Second // after which no write is added, for example without a link
	maxWrites     = 4096
	maxPosted     = 64               // under way, each with 3 URBs of the 512 that a session allows
	maxAttempts   = 4                // for each write
	heldTimeout   = 3 * time.Second  // for the driver's next command after a failure or reset
	flushTimeout  = 20 * time.Second // of Close
)

// cache is the write cache of a device, if its owner wants one. It holds writes, in the
// order of the driver, from the moment when the driver gets their status until the
// device has sent its own:
//
//	          status for the driver        status of the device
//	collected ─────────────────────► held ─────────────────────► written
//	                                  ▲ │
//	            not reached, repeated └─┤ refused
//	                                    └────────► lost
//
// The cache takes a write only from a driver that knows of the cache, see mayHold. It
// sends the writes at once, as many as the window of the meter permits. The guard keeps
// their order. A command that depends on writes waits until none is left, see begin.
//
// A write that the device refuses is lost. From then on, the unit has no cache, a
// SYNCHRONIZE CACHE fails, and so does a read of the blocks, until the driver has
// written them again. A deferred error (SPC-4, 4.5.7) would not do: Linux repeats a
// command that reports one and forgets the error (drivers/scsi/scsi_error.c,
// scsi_check_sense).
type cache struct {
	backlog
	stage    *Stage
	on       bool // the owner wants it
	posted   int  // writes that are under way
	underWay int  // their bytes
	meter    meter
	held     bool        // nothing is sent before the driver's next command
	timer    *time.Timer // ends held and the mode passing; nil: nothing waits for it
	controls []*usb.URB  // requests of the driver that wait until no write is left
	flush    flush

	taken, lost int64 // bytes, for the statistics
}

// write is a write of the driver that the stage answers. It is an errand.
type write struct {
	extent
	stage    *Stage
	unit     *unit
	wrapper  wrapper
	data     []byte
	since    time.Time // when the driver got the status
	exchange *exchange // nil: it is not under way
	attempts int
}

// unitCache is the state of the write cache for one unit.
type unitCache struct {
	isDisk   bool // INQUIRY: a direct access block device
	isKnown  bool // the driver has read that the unit has a volatile write cache
	isProven bool // the unit has taken a write, and has reported nothing since
	unsynced bool // writes were held after the last SYNCHRONIZE CACHE of the unit
	noSync   bool // the unit knows no SYNCHRONIZE CACHE
	suspect  bool // the driver has not read yet why its command failed
	lost     []extent
	isNew    bool // the medium has been replaced; READ CAPACITY follows
	toldStop bool // a START STOP UNIT has failed because of lost writes
}

func (u *unitCache) hasLost() bool { return len(u.lost) > 0 }

func (u *unitCache) hasLostIn(e extent) bool { return slices.ContainsFunc(u.lost, e.overlaps) }

// mayHold reports whether the stage may answer a write early. The unit must be a disk
// that takes writes, and the driver must know of the cache: otherwise it sends no
// SYNCHRONIZE CACHE.
func (k *cache) mayHold(w *wrapper, u *unit) bool {
	e, ok := w.extent()
	c := &u.cache
	return k.on && k.stage.off == "" && !k.flush.closing && c.isDisk && c.isKnown && c.isProven && !c.hasLost() &&
		ok && w.isWrite() && u.pending.sense == nil && e.count > 0 && e.end() <= u.blocks &&
		uint64(w.length()) == e.count*uint64(u.blockSize) && w.length() <= usb.MaxTransfer
}

// collect takes data of the driver for its write. mu must be held.
func (k *cache) collect(c *command, u *usb.URB) {
	s, w := k.stage, c.write
	if len(w.data)+len(u.Data) > int(c.wrapper.length()) { // the device decides
		c.unsent = append(c.unsent, u)
		k.passThrough(c)
		return
	}
	w.data = append(w.data, u.Data...)
	u.Actual = len(u.Data)
	s.box.Finish(u, usb.StatusOK)
	k.admit(c)
}

// admit answers the driver's write once there is room. mu must be held.
func (k *cache) admit(c *command) {
	s, w := k.stage, c.write
	if c.ended || len(w.data) < int(c.wrapper.length()) {
		return
	}
	if !k.mayHold(&c.wrapper, w.unit) {
		k.passThrough(c)
		return
	}
	if !k.room(len(w.data), k.meter.peak()) {
		k.arm() // the age of the oldest write counts
		return
	}
	c.write = nil
	k.add(w)
	k.taken += int64(len(w.data))
	w.unit.cache.unsynced = true
	k.send()
	s.replyStatus(c, 0, statusPassed)
}

// passThrough lets the device answer a write whose data the stage has. mu must be held.
func (k *cache) passThrough(c *command) {
	c.collected, c.write = c.write.data, nil
	k.await(c)
}

// overlaps reports whether blocks of e are about to be written.
func (k *cache) overlaps(u *unit, e extent) bool {
	if c := k.stage.cmd; c != nil && c.write != nil && c.write.unit == u && c.write.overlaps(e) {
		return true
	}
	return slices.ContainsFunc(k.writes, func(w *write) bool { return w.unit == u && w.overlaps(e) })
}

// send sends writes to the device, as many as the window permits. A write that is
// repeated overtakes none: those after it were dropped too. mu must be held.
func (k *cache) send() {
	s := k.stage
	if k.held || s.closed || !s.chosen || s.mode == draining || s.mode == passing {
		k.arm()
		return
	}
	window := k.meter.window(time.Now())
	for _, w := range k.writes {
		n := len(w.data)
		switch {
		case w.exchange != nil && w.exchange.mark.Epoch == s.exchanges.epoch+1:
			continue
		case w.exchange != nil, k.posted >= maxPosted, k.posted > 0 && k.underWay+n > window:
			return
		}
		s.exchanges.tag++
		x := &exchange{
			wrapper: newWrapper(firstTag+s.exchanges.tag, w.wrapper.unit(), uint32(n), w.wrapper.block()),
			errand:  w, out: w.data, meter: &k.meter,
		}
		x.wrapper[12] = 0 // to the device
		w.exchange = x
		k.posted++
		k.underWay += n
		s.exchanges.post(x, 0, true)
	}
}

// returned records that a write is no longer under way. mu must be held.
func (k *cache) returned(w *write) {
	if w.exchange != nil {
		w.exchange = nil
		k.posted--
		k.underWay -= len(w.data)
	}
}

func (w *write) done(x *exchange, v verdict) {
	k := &w.stage.cache
	if v == short || x.data.Actual < len(w.data) {
		w.failed(nil, nil)
		return
	}
	k.returned(w)
	k.supersede(w)
	k.remove(w)
	k.advance()
}

func (w *write) unreached(*exchange) {
	w.stage.cache.returned(w)
	w.stage.cache.arm()
}

// failed repeats the write if the error may pass, and gives it up otherwise.
func (w *write) failed(_ *exchange, sense []byte) {
	s := w.stage
	s.cache.returned(w)
	s.notice(w.unit, sense)
	w.unit.pending.keep(sense)
	switch key, _ := keyOf(sense); {
	case !slices.Contains(s.cache.writes, w): // notice has given it up
	case len(sense) == 0, isDeferred(sense), key == keyUnitAttention, key == keyNoSense, key == keyAborted:
		w.tried()
	case key == keyRecovered:
		s.cache.supersede(w)
		s.cache.remove(w)
	default:
		s.cache.lose(w)
	}
	s.cache.advance()
}

// tried counts an attempt, and gives the write up after the last one.
func (w *write) tried() {
	if w.attempts++; w.attempts >= maxAttempts {
		w.stage.cache.lose(w)
	}
}

// lose gives up a write. mu must be held.
func (k *cache) lose(w *write) {
	k.returned(w)
	k.remove(w)
	k.lost += int64(len(w.data))
	w.unit.cache.isProven = false
	w.unit.cache.lost = append(w.unit.cache.lost, w.extent)
}

// loseUnit gives up all writes to a medium that may be gone. mu must be held.
func (k *cache) loseUnit(u *unit) {
	for _, w := range slices.Clone(k.writes) {
		if w.unit == u {
			k.lose(w)
		}
	}
}

// allPosted reports whether all writes are under way. A command that is sent now runs
// after them, or not at all. mu must be held.
func (k *cache) allPosted() bool {
	return !slices.ContainsFunc(k.writes, func(w *write) bool {
		return w.exchange == nil || w.exchange.mark.Epoch != k.stage.exchanges.epoch+1
	})
}

// advance continues what waits for the end of writes. mu must be held.
func (k *cache) advance() {
	s := k.stage
	k.send()
	if c := s.cmd; s.mode == busy && c != nil {
		switch {
		case c.write != nil:
			k.admit(c)
		case c.waits && (len(k.writes) == 0 || c.wrapper.isSync() && k.allPosted()):
			k.proceed(c)
		}
	}
	if len(k.writes) > 0 {
		return
	}
	controls := k.controls
	k.controls = nil
	for _, u := range controls {
		s.submit(u)
	}
	k.flush.sync()
}
