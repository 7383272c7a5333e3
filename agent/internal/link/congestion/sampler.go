package congestion

import "time"

const (
	// maxRecords bounds the packets in flight that a sampler measures, and its memory: 9 MB.
	maxRecords   = 1 << 17
	leastRecords = 1 << 8

	releaseInterval = Time(10 * time.Second) // without many packets in flight, after which memory is released
)

// record is a packet in flight.
type record struct {
	number      int64
	bytes       int
	sentAt      Time
	delivered   int64 // bytes delivered when it was sent
	deliveredAt Time
	firstSentAt Time
	limited     bool
}

// delivery is a measurement of the delivery rate.
type delivery struct {
	bytes     int   // acknowledged now
	startedAt int64 // bytes delivered when the newest of the packets was sent
	amount    int64 // bytes delivered since then
	span      Time
	limited   bool // by the sender
}

// rate returns bytes per second.
func (d delivery) rate() float64 { return float64(d.amount) / float64(d.span) * 1e9 }

// sampler measures delivery rates (draft-cheng-iccrg-delivery-rate-estimation).
type sampler struct {
	records     []record // by packet number modulo the length, a power of two
	recorded    int      // bytes of all records
	inFlight    int
	delivered   int64 // bytes, since the beginning
	deliveredAt Time
	firstSentAt Time  // when the packet was sent that was acknowledged last
	limitedTo   int64 // samples are limited until more bytes than before this number are delivered
	usedAt      Time  // when many packets were last in flight
}

func (s *sampler) slot(number int64) *record { return &s.records[number&int64(len(s.records)-1)] }

// sent records a packet. limited reports whether the sender sent less than it was permitted to
// before it.
func (s *sampler) sent(now Time, number int64, bytes, inFlight int, limited bool) {
	if inFlight == 0 {
		s.firstSentAt, s.deliveredAt = now, now
		if now-s.usedAt > releaseInterval {
			s.records, s.recorded = nil, 0
		}
	}
	if inFlight > leastRecords/4*bytes {
		s.usedAt = now
	}
	if limited {
		s.limitedTo = s.delivered + int64(inFlight) + 1
	}
	s.inFlight = inFlight + bytes
	if s.records == nil {
		s.records = make([]record, leastRecords)
	}
	s.makeRoom(number, inFlight)
	s.recorded += bytes
	*s.slot(number) = record{
		number: number, bytes: bytes, sentAt: now, delivered: s.delivered, deliveredAt: s.deliveredAt,
		firstSentAt: s.firstSentAt, limited: s.delivered < s.limitedTo,
	}
}

// makeRoom frees the slot of a packet. The slot may hold a packet that is no longer in flight:
// the engine reports neither the acknowledgement nor the loss of a packet that it has
// replaced by a probe (RFC 9002 section 6.2.4). Then more bytes are recorded than in flight.
func (s *sampler) makeRoom(number int64, inFlight int) {
	for {
		r := s.slot(number)
		if r.bytes > 0 && r.number != number && s.recorded-inFlight < r.bytes && len(s.records) < maxRecords {
			s.grow()
			continue
		}
		s.recorded -= r.bytes
		r.bytes = 0
		return
	}
}

func (s *sampler) grow() {
	old := s.records
	s.records = make([]record, 2*len(old))
	for _, r := range old {
		if r.bytes > 0 {
			*s.slot(r.number) = r
		}
	}
}

// take removes the record of a packet.
func (s *sampler) take(p Packet) (record, bool) {
	if s.records == nil {
		return record{}, false
	}
	r := s.slot(p.Number)
	if r.bytes == 0 || r.number != p.Number {
		return record{}, false
	}
	taken := *r
	r.bytes = 0
	s.recorded -= taken.bytes
	s.inFlight = max(0, s.inFlight-taken.bytes)
	return taken, true
}

// lost removes a lost packet and reports whether it was in flight.
func (s *sampler) lost(p Packet) bool {
	_, ok := s.take(p)
	return ok
}

// acked removes acknowledged packets. It returns the delivery since the newest of them
// was sent, and false if none of them was in flight.
func (s *sampler) acked(now Time, packets []Packet) (d delivery, ok bool) {
	var newest record
	for _, p := range packets {
		r, known := s.take(p)
		if !known {
			continue
		}
		s.delivered += int64(r.bytes)
		d.bytes += r.bytes
		if r.sentAt >= newest.sentAt {
			newest = r
		}
	}
	if d.bytes == 0 {
		return d, false
	}
	s.deliveredAt, s.firstSentAt = now, newest.sentAt
	d.startedAt, d.limited = newest.delivered, newest.limited
	d.amount = s.delivered - newest.delivered
	d.span = max(newest.sentAt-newest.firstSentAt, now-newest.deliveredAt)
	return d, true
}
