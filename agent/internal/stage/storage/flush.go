package storage

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// flush writes what the write cache holds, and the caches of the units, before the stage
// closes.
type flush struct {
	stage   *Stage
	closing bool
	flushed chan struct{} // closed at the end; nil: nobody waits
	failed  bool          // a unit has not written its own cache
}

// run writes what the cache holds, if the device is still there.
func (f *flush) run() {
	s := f.stage
	s.mu.Lock()
	if !s.cache.on || s.closed || f.closing {
		s.mu.Unlock()
		return
	}
	flushed := make(chan struct{})
	f.closing, f.flushed = true, flushed
	s.cache.force()
	f.sync()
	s.mu.Unlock()
	s.box.Run()
	timer := time.NewTimer(flushTimeout)
	defer timer.Stop()
	select {
	case <-flushed:
	case <-s.Gone():
	case <-timer.C:
	}
}

// unsynced returns the number of a unit whose own cache Close must flush, or -1. mu must
// be held.
func (f *flush) unsynced() int {
	return slices.IndexFunc(f.stage.ahead.units[:], func(u *unit) bool {
		return f.closing && u != nil && u.cache.unsynced && !u.cache.noSync
	})
}

// sync ends the flush of Close: the units write their own caches. mu must be held.
func (f *flush) sync() {
	s, n := f.stage, f.unsynced()
	switch {
	case !f.closing || f.flushed == nil || len(s.cache.writes) > 0 || s.mode == draining:
	case n < 0 || !s.chosen:
		close(f.flushed)
		f.flushed = nil
	case s.mode != passing:
		s.exchanges.tag++
		w := newWrapper(firstTag+s.exchanges.tag, uint8(n), 0, []byte{opSynchronizeCache10, 9: 0})
		w[12] = 0
		s.ahead.units[n].cache.unsynced = false
		s.exchanges.post(&exchange{wrapper: w, errand: lastSync{s}, meter: &s.cache.meter}, 0, true)
	}
}

// lastSync is the errand that makes a unit write its own cache at the end.
type lastSync struct{ stage *Stage }

func (l lastSync) done(*exchange, verdict) { l.stage.cache.flush.sync() }
func (l lastSync) unreached(*exchange)     { l.stage.cache.flush.sync() }

func (l lastSync) failed(_ *exchange, sense []byte) {
	if key, _ := keyOf(sense); key != keyIllegalRequest { // the unit has a cache
		l.stage.cache.flush.failed = true
	}
	l.stage.cache.flush.sync()
}

// ErrLost is the error of Close if writes have not reached the device.
var ErrLost = errors.New("the disk does not have data that were reported as written")

// abandon gives up the writes that are left. It returns an error that wraps ErrLost if
// any write was ever given up. mu must be held.
func (k *cache) abandon() error {
	if k.timer != nil {
		k.timer.Stop()
	}
	for _, w := range slices.Clone(k.writes) {
		k.lose(w)
	}
	switch {
	case k.flush.failed:
		return fmt.Errorf("%w: it has not written its own cache", ErrLost)
	case k.lost == 0:
		return nil
	}
	return fmt.Errorf("%w: %d bytes", ErrLost, k.lost)
}
