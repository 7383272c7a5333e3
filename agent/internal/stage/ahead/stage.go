package ahead

import (
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/counts"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/outbox"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

const (
	// pauseTimeout is the time that a driver may leave an endpoint without an URB until it
	// counts as one that polls on demand. Drivers that poll all the time submit the next
	// URB when they get the last one back.
	pauseTimeout = 500 * time.Millisecond
	// pollTimeout is the greatest timeout of programs that wait for a report with a timeout.
	pollTimeout = 5 * time.Second
	// assumedRoundTrip is used until the round trip is measured.
	assumedRoundTrip = 100 * time.Millisecond
	roundTripTTL     = time.Second // of a measured round trip

	maxPostedSize = 256 << 10 // bytes of the transfers posted ahead for an endpoint
)

// Limits bounds the transfers that a Stage posts ahead.
type Limits struct {
	RoundTrip func() time.Duration // returns the measured round trip to the host, or 0
	// Transfers is the greatest number of transfers posted ahead, for all endpoints together.
	// With the URBs of the driver they must not use up what a session has in flight: requests
	// would wait behind transfers that nothing answers.
	Transfers int
}

// Stage posts transfers of a device ahead and answers OUT transfers early.
type Stage struct {
	usb.Device
	box       *outbox.Outbox
	plan      Plan
	roundTrip func() time.Duration
	active    uint8 // bConfigurationValue of the configuration with the endpoints

	mu       sync.Mutex // guards the fields below
	pipes    map[usb.Endpoint]*pipe
	outs     map[usb.Endpoint]*out
	controls controls
	arrivals uint64 // of URBs of the driver, and of transfers posted
	measured time.Duration
	until    time.Time // when measured is too old
	closed   bool
	work     counts.Counts
}

// New returns dev with a stage.
func New(dev usb.Device, plan Plan, limits Limits) *Stage {
	s := &Stage{
		Device: dev, box: outbox.New(dev), plan: plan, roundTrip: limits.RoundTrip,
		active: dev.Info().Configuration,
		pipes:  map[usb.Endpoint]*pipe{}, outs: map[usb.Endpoint]*out{},
	}
	s.controls = controls{stage: s, running: map[*usb.URB]*control{}}
	for e, policy := range plan.In {
		policy.Max = min(policy.Max, limits.Transfers/len(plan.In))
		policy.First = min(policy.First, policy.Max)
		s.pipes[e] = &pipe{
			stage: s, endpoint: e, policy: policy, chosen: policy.Alternate == 0, allowance: policy.First,
		}
	}
	for e, early := range plan.Out {
		s.outs[e] = &out{
			stage: s, in: s.pipes[early.In], isEarly: early.Proof == nil, proof: early.Proof,
			direct: map[*usb.URB]*transfer{},
		}
	}
	return s
}

// Stats returns what the stage has done. It is never off.
func (s *Stage) Stats() (off string, work counts.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "", s.work
}

// Submit implements [usb.Device].
func (s *Stage) Submit(u *usb.URB) { u.Begin(s.enqueue) }

// enqueue accepts an URB of the driver.
func (s *Stage) enqueue(u *usb.URB) usb.Status {
	s.mu.Lock()
	p, o := s.pipes[u.Endpoint], s.outs[u.Endpoint]
	switch {
	case s.closed:
		s.box.Finish(u, usb.StatusShutdown)
	case u.Endpoint.Number() == 0:
		s.controls.submit(u)
	case len(u.Packets) > 0 || p == nil && o == nil:
		s.box.Submit(u)
	case p != nil:
		p.submit(u)
	default:
		o.submit(u)
	}
	s.mu.Unlock()
	s.box.Run()
	return usb.StatusOK
}

// Cancel implements [usb.Device].
func (s *Stage) Cancel(u *usb.URB) {
	s.mu.Lock()
	p, o := s.pipes[u.Endpoint], s.outs[u.Endpoint]
	switch {
	case u.Endpoint.Number() == 0:
		s.controls.cancel(u)
	case o != nil:
		o.cancel(u)
	case p == nil || !p.cancel(u):
		s.box.Cancel(u)
	}
	s.mu.Unlock()
	s.box.Run()
}

// Close implements [usb.Device].
func (s *Stage) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, p := range s.pipes {
		p.stopTimer()
	}
	for _, o := range s.outs {
		o.stopTimers()
	}
	s.mu.Unlock()
	err := s.Device.Close()
	s.box.Drain()
	s.mu.Lock()
	var left []*usb.URB
	for _, p := range s.pipes {
		for _, w := range p.wanted {
			left = append(left, w.urb)
		}
		p.wanted = nil
		p.dropArrived()
	}
	for _, c := range s.controls.waiting {
		left = append(left, c.urb)
	}
	s.controls.waiting = nil
	s.mu.Unlock()
	for _, u := range left {
		s.box.Finish(u, usb.StatusShutdown)
	}
	s.box.Drain()
	return err
}

// next returns a number that rises. mu must be held.
func (s *Stage) next() uint64 {
	s.arrivals++
	return s.arrivals
}

// delay returns the round trip. mu must be held.
func (s *Stage) delay() time.Duration {
	if now := time.Now(); !now.Before(s.until) {
		s.measured, s.until = s.roundTrip(), now.Add(roundTripTTL)
	}
	if s.measured == 0 {
		return assumedRoundTrip
	}
	return s.measured
}

// transfer is an URB of the stage.
type transfer struct {
	urb       usb.URB
	number    uint64
	cancelled bool
}

// post submits a transfer. done is called with mu held. mu must be held.
func (s *Stage) post(u usb.URB, done func(*transfer)) *transfer {
	t := &transfer{urb: u, number: s.next()}
	t.urb.Done = func(*usb.URB) {
		s.mu.Lock()
		done(t)
		s.controls.advance()
		s.mu.Unlock()
		s.box.Run()
	}
	s.box.Submit(&t.urb)
	return t
}

// recall cancels a transfer. mu must be held.
func (s *Stage) recall(t *transfer) {
	if !t.cancelled {
		t.cancelled = true
		s.box.Cancel(&t.urb)
	}
}

// without removes a transfer from a list.
func without(list []*transfer, t *transfer) []*transfer {
	return slices.DeleteFunc(list, func(other *transfer) bool { return other == t })
}
