package storage

import (
	"slices"
	"time"
)

// backlog holds the writes that the device does not have, oldest first.
type backlog struct {
	writes []*write
	bytes  int // of writes
}

// room reports whether a write of n bytes may be added. rate is that of the device, in
// bytes per second.
func (b *backlog) room(n int, rate float64) bool {
	if len(b.writes) == 0 {
		return true
	}
	limit := min(max(int(rate*unwrittenTime.Seconds()), minUnwritten), maxUnwritten)
	return b.bytes+n <= limit && len(b.writes) < maxWrites && time.Since(b.writes[0].since) < unwrittenTTL
}

// find returns the blocks of e if the newest write to one of them contains all.
func (b *backlog) find(u *unit, e extent) []byte {
	for _, w := range slices.Backward(b.writes) {
		if w.unit != u || !w.overlaps(e) {
			continue
		}
		if e.first < w.first || e.end() > w.end() {
			return nil
		}
		size := uint64(u.blockSize)
		return w.data[(e.first-w.first)*size : (e.end()-w.first)*size]
	}
	return nil
}

// add adds a write, which the driver believes to be done from now on.
func (b *backlog) add(w *write) {
	w.since = time.Now()
	b.writes = append(b.writes, w)
	b.bytes += len(w.data)
}

// supersede puts the blocks of a write that is done into older writes that are left. The
// guard drops cancelled commands one by one, so it may have run a write and dropped an
// older one, which is about to be repeated.
func (b *backlog) supersede(w *write) {
	for _, old := range b.writes {
		if old == w {
			return
		}
		if old.unit != w.unit || !old.overlaps(w.extent) {
			continue
		}
		size := uint64(len(w.data)) / w.count
		first, end := max(old.first, w.first), min(old.end(), w.end())
		old.data = slices.Clone(old.data) // the session may still send it
		copy(old.data[(first-old.first)*size:], w.data[(first-w.first)*size:(end-w.first)*size])
	}
}

// remove removes a write.
func (b *backlog) remove(w *write) {
	if i := slices.Index(b.writes, w); i >= 0 {
		b.writes = slices.Delete(b.writes, i, i+1)
		b.bytes -= len(w.data)
	}
}
