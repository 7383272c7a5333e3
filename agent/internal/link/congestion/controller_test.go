package congestion

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	ms    = time.Millisecond
	seeds = 3 // runs of each simulation, whose median counts
)

func ours() control { return New(packetBytes, 50*ms) }

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// alone runs one flow for a warm-up and then for a time, and returns medians of its
// goodput in Mbit/s and of the median delay in the queue in ms.
func alone(p path, warmUp, during time.Duration) (goodput, queue float64) {
	var rates, queues []float64
	for seed := range uint64(seeds) {
		s := newSimulation(p, seed+1)
		f := s.start(ours(), 0)
		s.runUntil(Time(warmUp))
		s.queue, f.delivered = nil, 0
		s.runUntil(Time(warmUp + during))
		rates = append(rates, f.rateSince(0, during))
		queues = append(queues, s.queue.at(0.5))
	}
	return median(rates), median(queues)
}

func TestFillsLinkDespiteLossAndJitterWithShortQueue(t *testing.T) {
	for name, c := range map[string]struct {
		path
		goodput, queue float64 // at least, in Mbit/s, and at most, in ms
		warmUp         time.Duration
	}{
		"clean":                       {path{50, 50 * ms, 0, 0, 1, 50 * ms, 0}, 47.5, 25, 0},
		"1 % loss":                    {path{50, 50 * ms, 0, 0.01, 1, 50 * ms, 0}, 47.5, 25, 0},
		"2 % loss":                    {path{50, 50 * ms, 0, 0.02, 1, 50 * ms, 0}, 45, 25, 0},
		"5 % loss":                    {path{50, 50 * ms, 0, 0.05, 1, 50 * ms, 0}, 42.5, 25, 0},
		"jitter":                      {path{50, 60 * ms, 20 * ms, 0, 1, 50 * ms, 0}, 45, 40, 0},
		"jitter and bursts of loss":   {path{50, 60 * ms, 20 * ms, 0.01, 5, 50 * ms, 0}, 40, 40, 0},
		"shallow queue":               {path{50, 50 * ms, 0, 0, 1, 10 * ms, 0}, 45, 10, 0},
		"deep queue":                  {path{50, 50 * ms, 0, 0, 1, 500 * ms, 0}, 47.5, 25, 0},
		"busy processor":              {path{50, 50 * ms, 0, 0, 1, 50 * ms, 5 * ms}, 45, 35, 0},
		"busy processor and loss":     {path{50, 50 * ms, 0, 0.02, 1, 50 * ms, 5 * ms}, 45, 35, 0},
		"slow link with a long queue": {path{0.2, 100 * ms, 0, 0, 1, 2000 * ms, 0}, 0.18, 400, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			goodput, queue := alone(c.path, c.warmUp+2*time.Second, 5*time.Second)
			t.Logf("%.2f Mbit/s, queue %.1f ms", goodput, queue)
			if goodput < c.goodput || queue > c.queue {
				t.Errorf("%.2f Mbit/s with a queue of %.1f ms, want at least %v and at most %v",
					goodput, queue, c.goodput, c.queue)
			}
		})
	}
}

// TestShortLinkPermitsBursts checks that on a LAN the window holds as many packets as
// one system call can send, and that the queue stays short even so.
func TestShortLinkPermitsBursts(t *testing.T) {
	c := New(packetBytes, ms/5)
	s := newSimulation(path{1000, ms / 5, 0, 0, 1, 50 * ms, 0}, 1)
	s.start(c, 0)
	s.runUntil(Time(time.Second))
	if w := c.Window(); w < 2*maxQuantum*packetBytes {
		t.Errorf("a window of %d packets", w/packetBytes)
	}
	if q := s.queue.at(0.5); q > 2 {
		t.Errorf("a queue of %.1f ms", q)
	}
}

// TestForgottenPacketsTakeNoMemory sends packets of which the caller forgets a few.
func TestForgottenPacketsTakeNoMemory(t *testing.T) {
	const window = 100
	c := New(packetBytes, ms)
	inFlight := 0
	for n := range int64(100_000) {
		c.OnSent(Time(n), n, packetBytes, inFlight)
		inFlight += packetBytes
		if number := n - window; number >= 0 {
			inFlight -= packetBytes
			if number%1000 > 0 {
				acked := []Packet{{Number: number, Bytes: packetBytes}}
				c.OnAck(Ack{Now: Time(n), RTT: ms, Acked: acked})
			}
		}
	}
	if n := len(c.sample.records); n > 4*window {
		t.Errorf("%d records of %d packets in flight", n, window)
	}
}

func TestMeasuresRateAndLoss(t *testing.T) {
	c := New(packetBytes, 50*ms)
	s := newSimulation(path{50, 50 * ms, 0, 0.02, 1, 50 * ms, 0}, 1)
	f := s.start(c, 0)
	f.paused = true
	for range 50 { // small messages say nothing about the bandwidth
		s.runUntil(s.now + Time(20*ms))
		f.sendOne()
	}
	if r := c.Rate(); r != 0 {
		t.Errorf("a rate of %v before there was enough to send", r)
	}
	f.paused = false
	f.pump()
	s.runUntil(s.now + Time(5*time.Second))
	if r := c.Rate() * 8 / 1e6; r < 45 || r > 55 {
		t.Errorf("a rate of %.1f Mbit/s, want about 50", r)
	}
	if l := c.Loss(); l < 0.015 || l > 0.025 {
		t.Errorf("a loss of %.2f %%, want about 2", 100*l)
	}
}

func TestReachesFastLinkWithinSecond(t *testing.T) {
	s := newSimulation(path{500, 50 * ms, 0, 0, 1, 50 * ms, 0}, 1)
	f := s.start(ours(), 0)
	s.runUntil(Time(time.Second))
	before := f.delivered
	s.runUntil(Time(1500 * ms))
	if got := f.rateSince(before, 500*ms); got < 450 {
		t.Errorf("%.0f of 500 Mbit/s in the half second after the first second", got)
	}
}

// After any sequence of events the controller stays within its bounds and keeps sending.
func TestAnyEventsLeaveControllerUsable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := New(1200, time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "rtt")))
		now, next, inFlight := Time(1), int64(0), 0
		flight := map[int64]int{}
		for range rapid.IntRange(1, 300).Draw(t, "events") {
			now += Time(rapid.Int64Range(0, int64(200*ms)).Draw(t, "later"))
			if rapid.Bool().Draw(t, "send") {
				n := rapid.IntRange(1, 20).Draw(t, "packets")
				for range n {
					c.OnSent(now, next, 1200, inFlight)
					flight[next], inFlight = 1200, inFlight+1200
					next += rapid.Int64Range(1, 3).Draw(t, "gap")
				}
				continue
			}
			a := Ack{Now: now, RTT: time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "sample"))}
			for range rapid.IntRange(0, 20).Draw(t, "acknowledged") {
				n := rapid.Int64Range(0, next+2).Draw(t, "number")
				p := Packet{n, 1200}
				if rapid.Bool().Draw(t, "lost") {
					a.Lost = append(a.Lost, p)
				} else {
					a.Acked = append(a.Acked, p)
				}
				inFlight -= flight[n]
				delete(flight, n)
			}
			c.OnAck(a)
		}
		if w := c.Window(); w < minWindow*1200 || w > maxWindow {
			t.Fatalf("a window of %d bytes", w)
		}
		if at := c.NextSend(now); at-now > Time(2*time.Second) {
			t.Fatalf("the next packet waits %v", time.Duration(at-now))
		}
		if c.sample.inFlight < 0 {
			t.Fatalf("%d bytes in flight", c.sample.inFlight)
		}
	})
}

func BenchmarkPacket(b *testing.B) {
	c := New(packetBytes, 50*ms)
	b.ReportAllocs()
	acked := make([]Packet, 1)
	for i := range b.N {
		now := Time(i) * Time(100*time.Microsecond)
		c.NextSend(now)
		c.OnSent(now, int64(i), packetBytes, 100*packetBytes)
		if i >= 100 {
			acked[0] = Packet{int64(i - 100), packetBytes}
			c.OnAck(Ack{Now: now, RTT: 50 * ms, Acked: acked})
		}
	}
}
