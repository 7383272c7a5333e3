package storage

import (
	"slices"
	"time"
)

// Bounds of what is read ahead from one device.
const (
	maxBlocks   = 16 << 20         // bytes that have arrived or are under way
	blocksTTL   = 10 * time.Second // of blocks that have arrived
	maxCommands = 100              // under way, each with 3 URBs of the 512 that a session allows
	minPiece    = 32 << 10         // bytes of one command; no disk is known that cannot do it
	maxPiece    = 256 << 10        // bytes of one command
	firstAhead  = 128 << 10        // bytes that are read ahead of a new sequence at least
	maxBad      = 16               // places of one unit that could not be read ahead
	trackCount  = 8                // sequences of reads of one unit that are followed
	endDistance = 16               // blocks at the end of a disk that are never read ahead
	minSequence = 2                // reads that make a sequence
)

// ahead holds the blocks that were read ahead, and decides what is read ahead.
//
// A track follows a sequence of reads. After minSequence reads, the stage reads ahead
// of the driver. The distance doubles with each read up to the window of the meter.
// The window also bounds the bytes that are under way at the same time, so a read of
// other blocks does not wait for more than that. The stage reads ahead with commands
// of at most maxPiece bytes. A command of the driver overtakes those that have not
// begun.
//
// The driver gets each block once. The stage drops blocks that a write changes or
// that are too old, and drops all blocks after anything unexpected.
type ahead struct {
	meter    meter
	units    [16]*unit // by logical unit number
	bytes    int       // of the segments of all units
	underWay int       // bytes of segments that have not arrived
	commands int       // that fetch them
	latest   latest
	cache    *cache

	fetched, dropped int64 // bytes, for the statistics
}

// unit is a logical unit.
type unit struct {
	blockSize uint32 // bytes; 0: unknown
	blocks    uint64
	longest   uint32     // bytes of the longest READ of the driver
	segments  []*segment // no two overlap
	tracks    [trackCount]track
	bad       []extent
	uses      uint64 // of tracks
	pending   pendingSense
	answers   answers
	cache     unitCache
	volumes   []extent // partitions
	hasBoot   bool     // the start of the disk was read ahead, and nothing was dropped since
}

// segment holds blocks that are read ahead with one command.
type segment struct {
	extent
	unit    *unit
	bytes   int
	data    []byte
	arrived time.Time // zero: it is under way
	dropped bool      // later commands must not use it
}

// latest is the latest read of the driver that continues a sequence.
type latest struct {
	wrapper wrapper
	unit    *unit // nil: there is no such read
	track   *track
	read    extent
}

// track follows a sequence of reads.
type track struct {
	next  uint64 // block that continues the sequence
	ahead uint64 // end of what was read ahead
	reads int
	used  uint64
}

func (a *ahead) unit(n uint8) *unit {
	if a.units[n] == nil {
		a.units[n] = &unit{}
	}
	return a.units[n]
}

// setCapacity records the answer to READ CAPACITY.
func (a *ahead) setCapacity(u *unit, blocks uint64, blockSize uint32) {
	if blockSize < 512 || blockSize > 4096 || blockSize&(blockSize-1) != 0 {
		blocks, blockSize = 0, 0
	}
	if u.blockSize != 0 && (u.blocks != blocks || u.blockSize != blockSize) {
		a.dropAll()
	}
	u.blocks, u.blockSize = blocks, blockSize
}

// note records a read of the driver and returns its track.
func (u *unit) note(e extent) *track {
	u.uses++
	var t *track
	for i := range u.tracks {
		switch c := &u.tracks[i]; {
		case c.reads > 0 && c.next == e.first:
			c.reads++
			c.next, c.used = e.end(), u.uses
			return c
		case t == nil || c.used < t.used:
			t = c
		}
	}
	*t = track{next: e.end(), reads: 1, used: u.uses}
	return t
}

// find returns the segments that hold e, in order, or nil if a block is missing.
func (u *unit) find(e extent) []*segment {
	var found []*segment
	for at := e.first; at < e.end(); {
		s := u.at(at)
		if s == nil {
			return nil
		}
		found = append(found, s)
		at = s.end()
	}
	return found
}

// at returns the segment with a block, or nil.
func (u *unit) at(block uint64) *segment {
	for _, s := range u.segments {
		if s.first <= block && block < s.end() {
			return s
		}
	}
	return nil
}

// plan returns the segments to read ahead now, and counts them as under way. The stage
// calls it after each read of the driver and when blocks have arrived, so that the
// path stays full.
func (a *ahead) plan(now time.Time) []*segment {
	u, t, read := a.latest.unit, a.latest.track, a.latest.read
	if u == nil || t.next != read.end() || t.reads < minSequence || u.blocks <= endDistance {
		return nil
	}
	size := uint64(u.blockSize)
	window := a.meter.window(now)
	distance := max(int(read.count*size), firstAhead) << min(t.reads-1, 16)
	distance = min(distance, window+int(read.count*size))
	end := min(read.end()+uint64(distance)/size, u.blocks-endDistance)
	piece := uint64(min(max(u.longest, minPiece), maxPiece)) / size
	t.ahead = max(t.ahead, read.end())
	var list []*segment
	for t.ahead < end {
		if s := u.at(t.ahead); s != nil {
			t.ahead = s.end()
			continue
		}
		e := extent{t.ahead, min(piece, u.blocks-endDistance-t.ahead)}
		n := int(e.count * size)
		full := a.underWay > 0 && a.underWay+n > max(window, int(read.count*size))
		if full || a.commands >= maxCommands || a.isTaken(u, e) || !a.makeRoom(n, now) {
			break
		}
		t.ahead = e.end()
		list = append(list, a.add(u, e))
	}
	return list
}

// add adds a segment that is under way.
func (a *ahead) add(u *unit, e extent) *segment {
	s := &segment{extent: e, unit: u, bytes: int(e.count) * int(u.blockSize)}
	u.segments = append(u.segments, s)
	a.bytes += s.bytes
	a.underWay += s.bytes
	a.commands++
	return s
}

// complete returns the segments that are missing between those that hold e, if its
// first block is in one.
func (a *ahead) complete(u *unit, e extent) []*segment {
	if u.at(e.first) == nil || e.end() > u.blocks-min(u.blocks, endDistance) ||
		slices.ContainsFunc(u.bad, e.overlaps) || a.cache.overlaps(u, e) {
		return nil
	}
	var list []*segment
	for at := e.first; at < e.end(); {
		if s := u.at(at); s != nil {
			at = s.end()
			continue
		}
		end := min(e.end(), at+maxPiece/uint64(u.blockSize))
		for _, s := range u.segments {
			if s.first > at {
				end = min(end, s.first)
			}
		}
		list = append(list, a.add(u, extent{at, end - at}))
		at = end
	}
	return list
}

// isTaken reports whether e contains a block that another segment holds, that the write
// cache holds, or that could not be read.
func (a *ahead) isTaken(u *unit, e extent) bool {
	return slices.ContainsFunc(u.segments, func(s *segment) bool { return s.overlaps(e) }) ||
		slices.ContainsFunc(u.bad, e.overlaps) || a.cache.overlaps(u, e)
}

// makeRoom drops the oldest blocks until n bytes fit. It keeps blocks that arrived
// within the last second, which the driver is likely to read soon.
func (a *ahead) makeRoom(n int, now time.Time) bool {
	for a.bytes+n > maxBlocks {
		var oldest *segment
		for _, u := range a.units {
			if u == nil {
				continue
			}
			for _, s := range u.segments {
				if !s.arrived.IsZero() && (oldest == nil || s.arrived.Before(oldest.arrived)) {
					oldest = s
				}
			}
		}
		if oldest == nil || now.Sub(oldest.arrived) < time.Second {
			return false
		}
		a.drop(oldest)
	}
	return true
}

// finished counts a segment as no longer under way. data is nil if it could not be
// read.
func (a *ahead) finished(s *segment, data []byte, now time.Time) {
	a.underWay -= s.bytes
	a.commands--
	switch {
	case data == nil:
		a.drop(s)
		return
	case s.dropped:
		a.dropped += int64(len(data))
	}
	a.fetched += int64(len(data))
	s.data, s.arrived = data, now
}

// drop removes a segment.
func (a *ahead) drop(s *segment) {
	if s.dropped {
		return
	}
	a.remove(s)
	a.dropped += int64(len(s.data))
}

func (a *ahead) remove(s *segment) {
	s.dropped = true
	a.bytes -= s.bytes
	u := s.unit
	i := slices.Index(u.segments, s)
	u.segments = slices.Delete(u.segments, i, i+1)
}

// take returns the blocks of e, in pieces, and removes the segments that end within
// e. The segments hold e and have arrived.
func (a *ahead) take(e extent, segments []*segment) [][]byte {
	size := uint64(segments[0].bytes) / segments[0].count
	var pieces [][]byte
	for _, s := range segments {
		from, to := max(e.first, s.first), min(e.end(), s.end())
		pieces = append(pieces, s.data[(from-s.first)*size:(to-s.first)*size])
		if !s.dropped && s.end() <= e.end() {
			a.remove(s)
		}
	}
	return pieces
}

// change drops the blocks that a command may change.
func (a *ahead) change(w *wrapper) {
	switch w.effect() {
	case someBlocks:
		e, ok := w.extent()
		if !ok {
			a.dropAll()
			return
		}
		a.dropIn(a.unit(w.unit()), e)
	case everything:
		a.dropAll()
	}
}

// dropIn drops the segments of u that hold blocks of e.
func (a *ahead) dropIn(u *unit, e extent) {
	for _, s := range slices.Clone(u.segments) {
		if s.overlaps(e) {
			a.drop(s)
		}
	}
}

// dropAll drops all blocks and answers, and forgets the sequences.
func (a *ahead) dropAll() {
	a.latest = latest{}
	for _, u := range a.units {
		if u == nil {
			continue
		}
		for _, s := range slices.Clone(u.segments) {
			a.drop(s)
		}
		a.dropAnswers(u)
		u.volumes, u.hasBoot = nil, false
		u.tracks = [trackCount]track{}
	}
}

// expire drops the blocks that are too old. It returns the time until the next block
// is too old, or 0 if no block is left.
func (a *ahead) expire(now time.Time) time.Duration {
	var next time.Duration
	for _, u := range a.units {
		if u == nil {
			continue
		}
		for _, s := range slices.Clone(u.segments) {
			switch left := blocksTTL - now.Sub(s.arrived); {
			case s.arrived.IsZero():
			case left <= 0:
				a.drop(s)
			case next == 0 || left < next:
				next = left
			}
		}
	}
	return next
}

// failed records that e could not be read ahead.
func (u *unit) failed(e extent) {
	u.tracks = [trackCount]track{}
	if len(u.bad) < maxBad {
		u.bad = append(u.bad, e)
	} else {
		u.blocks = 0 // no reading ahead until the driver asks for the capacity again
	}
}

// readingAhead is the errand that fetches a segment.
type readingAhead struct {
	stage   *Stage
	segment *segment
}

func (r readingAhead) done(x *exchange, v verdict) {
	s, now := r.stage, time.Now()
	if v != good || x.data.Actual < len(x.data.Data) { // fewer blocks
		s.ahead.finished(r.segment, nil, now)
		r.segment.unit.failed(r.segment.extent)
		return
	}
	s.ahead.finished(r.segment, x.data.Data, now)
	s.exchanges.expireLater(blocksTTL)
	if s.mode != draining {
		s.exchanges.readAhead(&s.ahead.latest.wrapper, s.ahead.plan(now))
	}
}

func (r readingAhead) failed(_ *exchange, sense []byte) {
	s, unit := r.stage, r.segment.unit
	s.ahead.finished(r.segment, nil, time.Now())
	unit.failed(r.segment.extent)
	s.notice(unit, sense)
	if unit.pending.keep(sense) {
		s.ahead.dropAll()
		s.ahead.setCapacity(unit, 0, 0)
	}
}

func (r readingAhead) unreached(*exchange) { r.stage.ahead.finished(r.segment, nil, time.Now()) }
