package congestion

import (
	"slices"
	"testing"
	"time"
)

// over returns the goodput in Mbit/s during the next time.
func (f *flow) over(d time.Duration) float64 {
	before := f.delivered
	f.s.runUntil(f.s.now + Time(d))
	return f.rateSince(before, d)
}

// medianQueue returns the median delay in the queue in ms during the next time.
func (s *simulation) medianQueue(d time.Duration) float64 {
	s.queue = nil
	s.runUntil(s.now + Time(d))
	return s.queue.at(0.5)
}

func TestFollowsChangingBandwidth(t *testing.T) {
	s := newSimulation(path{50, 50 * ms, 0, 0, 1, 100 * ms, 0}, 1)
	f := s.start(ours(), 0)
	for _, c := range []struct {
		rate   float64
		settle time.Duration
	}{{50, time.Second}, {5, 3 * time.Second}, {50, 3 * time.Second}, {200, 2 * time.Second}} {
		s.path.rate = c.rate
		s.runUntil(s.now + Time(c.settle))
		if got := f.over(2 * time.Second); got < 0.9*c.rate {
			t.Errorf("%.1f Mbit/s after the link has changed to %v", got, c.rate)
		}
		if got := s.medianQueue(time.Second); got > 25 {
			t.Errorf("a queue of %.1f ms at %v Mbit/s", got, c.rate)
		}
	}
}

// The path becomes longer, as when a phone leaves the Wi-Fi, and shorter again.
func TestFollowsChangingRoundTrip(t *testing.T) {
	s := newSimulation(path{50, 20 * ms, 0, 0, 1, 100 * ms, 0}, 1)
	f := s.start(ours(), 0)
	for _, rtt := range []time.Duration{20 * ms, 200 * ms, 20 * ms} {
		s.path.rtt = rtt
		s.runUntil(s.now + Time(5*time.Second))
		if got := f.over(5 * time.Second); got < 8 {
			t.Errorf("%.1f Mbit/s after the round trip has changed to %v", got, rtt)
		}
		s.runUntil(s.now + Time(30*time.Second)) // the old round trip is forgotten
		if got := f.over(5 * time.Second); got < 45 {
			t.Errorf("%.1f Mbit/s half a minute after the round trip has changed to %v", got, rtt)
		}
	}
}

func TestSurvivesCut(t *testing.T) {
	s := newSimulation(path{50, 50 * ms, 0, 0, 1, 50 * ms, 0}, 1)
	f := s.start(ours(), 0)
	s.runUntil(Time(5 * time.Second))
	s.path.loss = 1
	s.runUntil(s.now + Time(2*time.Second))
	s.path.loss = 0
	s.runUntil(s.now + Time(1500*ms)) // the next probe of the loss timer, and growth
	if got := f.over(2 * time.Second); got < 45 {
		t.Errorf("%.1f Mbit/s after the cut", got)
	}
}

// A policer has no queue: it drops what exceeds the rate.
func TestDoesNotFloodPolicer(t *testing.T) {
	s := newSimulation(path{20, 50 * ms, 0, 0, 1, 50 * ms, 0}, 1)
	s.policer.size = 100e3
	f := s.start(ours(), 0)
	s.runUntil(Time(3 * time.Second))
	sent, lost := f.next, f.lostTotal
	got := f.over(10 * time.Second)
	if loss := float64(f.lostTotal-lost) / float64(f.next-sent); got < 17 || loss > 0.1 {
		t.Errorf("%.1f of 20 Mbit/s with %.1f %% loss", got, 100*loss)
	}
}

// Wi-Fi collects packets and acknowledgements, and sends them together.
func TestFillsAggregatingLink(t *testing.T) {
	for _, batch := range []time.Duration{5 * ms, 20 * ms} {
		s := newSimulation(path{50, 40 * ms, 0, 0, 1, 50 * ms, 0}, 1)
		s.batch = batch
		f := s.start(ours(), 0)
		s.runUntil(Time(2 * time.Second))
		if got := f.over(5 * time.Second); got < 45 {
			t.Errorf("%.1f Mbit/s when packets arrive every %v", got, batch)
		}
	}
}

// An application that sends little does not make the controller forget the path.
func TestIdleTimeDoesNotLowerRate(t *testing.T) {
	s := newSimulation(path{50, 50 * ms, 0, 0, 1, 50 * ms, 0}, 1)
	f := s.start(ours(), 0)
	s.runUntil(Time(3 * time.Second))
	f.paused = true
	for range 200 { // a small message every 50 ms
		s.runUntil(s.now + Time(50*ms))
		f.sendOne()
	}
	f.paused = false
	f.pump()
	if got := f.over(500 * ms); got < 35 {
		t.Errorf("%.1f Mbit/s right after the pause, want about 45", got)
	}
}

func TestIdleLinkHoldsNoMemory(t *testing.T) {
	c := New(packetBytes, 50*ms)
	s := newSimulation(path{200, 50 * ms, 0, 0, 1, 50 * ms, 0}, 1)
	f := s.start(c, 0)
	s.runUntil(Time(time.Second))
	f.paused = true
	for range 5 { // probes of an idle link
		s.runUntil(s.now + Time(5*time.Second))
		f.sendOne()
	}
	if n := len(c.sample.records); n > leastRecords {
		t.Errorf("%d records on an idle link", n)
	}
}

// Requests of 1 MiB, one after the other, as a disk reads: after each pause the answer comes at
// the rate of the link, and it is not a burst that overflows a shallow queue.
func TestRequestsAfterPausesUseLink(t *testing.T) {
	s := newSimulation(path{50, 50 * ms, 0, 0, 1, 10 * ms, 0}, 1)
	f := s.start(ours(), 0)
	s.runUntil(Time(3 * time.Second))
	for range 10 {
		f.paused = true
		s.runUntil(s.now + Time(500*ms))
		f.paused = false
		lost, before, began := f.lostTotal, f.delivered, s.now
		f.pump()
		for f.delivered-before < 1<<20 && s.now-began < Time(time.Second) {
			s.runUntil(s.now + Time(ms))
		}
		if took := time.Duration(s.now - began); took > 300*ms || f.lostTotal-lost > 40 {
			t.Errorf("1 MiB took %v and lost %d packets, want about 195 ms and few", took, f.lostTotal-lost)
		}
	}
}

// Requests of 120 KB, one after the other, as a disk is written: each is sent at once, and the
// waits between them do not count as a low rate of the path.
func TestShortRequestsDoNotLowerRate(t *testing.T) {
	const packets = 100
	for _, rate := range []float64{50, 500} {
		for _, loss := range []float64{0, 0.01} {
			s := newSimulation(path{rate, 50 * ms, 0, loss, 1, 50 * ms, 0}, 1)
			f := s.start(ours(), 0)
			var times []time.Duration
			for range 100 {
				began := s.now
				f.last = f.next + packets
				for f.pump(); (f.next < f.last || f.inFlight > 0) && s.now < Time(time.Minute); {
					s.runUntil(s.now + Time(ms))
				}
				times = append(times, time.Duration(s.now-began))
			}
			slices.Sort(times)
			if median := times[len(times)/2]; median > 85*ms {
				t.Errorf("a request took %v at %v Mbit/s and %v loss, want at most 85 ms", median, rate, loss)
			}
		}
	}
}
