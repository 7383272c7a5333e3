package stagetest

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// PathConfig describes a [Path].
type PathConfig struct {
	Delay  time.Duration // one way
	Jitter time.Duration // greatest additional delay, at random
	Rate   int64         // bytes per second in each direction; 0: without a limit
	Seed   uint64
}

// Path is a device behind a path with a delay. Each endpoint and direction has a
// lane of its own that keeps its order. Lanes overtake each other, as those of a
// session do.
//
// While the path is down, nothing arrives. As with a session without a link, a
// cancelled URB completes at once then, and Path drops its result when it arrives.
type Path struct {
	usb.Device
	cfg PathConfig

	mu     sync.Mutex
	random *rand.Rand
	lanes  map[laneID]*lane
	sent   map[*usb.URB]*usb.URB // URBs that are not complete, with the copies that the device has
	free   [2]time.Time          // when each direction can carry the next data
	closed bool
	down   bool
}

type laneID struct {
	endpoint usb.Endpoint
	back     bool // towards the computer
}

// lane holds events in their order.
type lane struct {
	events []event
	firing bool // an event runs
}

type event struct {
	at  time.Time
	run func()
}

// NewPath returns dev behind a path.
func NewPath(dev usb.Device, cfg PathConfig) *Path {
	return &Path{
		Device: dev, cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 1)), lanes: map[laneID]*lane{},
		sent: map[*usb.URB]*usb.URB{},
	}
}

// RoundTrip returns the greatest time from one end to the other and back.
func (p *Path) RoundTrip() time.Duration { return 2 * (p.cfg.Delay + p.cfg.Jitter) }

// SetDown takes the path down, or up again.
func (p *Path) SetDown(down bool) {
	p.mu.Lock()
	p.down = down
	p.mu.Unlock()
	p.fireAll()
}

// Submit implements [usb.Device].
func (p *Path) Submit(u *usb.URB) {
	sent := *u
	if u.In() {
		sent.Data = make([]byte, len(u.Data))
	}
	sent.Done = func(*usb.URB) {
		n := 0
		if sent.In() {
			n = sent.Actual
		}
		p.push(laneID{u.Endpoint, true}, n, func() { p.complete(u, &sent) })
	}
	p.mu.Lock()
	p.sent[u] = &sent
	p.mu.Unlock()
	n := 0
	if !u.In() {
		n = len(u.Data)
	}
	p.push(laneID{u.Endpoint, false}, n, func() { p.Device.Submit(&sent) })
}

// complete completes u with the result of its copy, unless u has been cancelled while
// the path was down.
func (p *Path) complete(u, sent *usb.URB) {
	p.mu.Lock()
	pending := p.sent[u] == sent
	if pending {
		delete(p.sent, u)
	}
	p.mu.Unlock()
	if !pending {
		return
	}
	if sent.In() {
		copy(u.Data, sent.Data[:sent.Actual])
	}
	u.Actual, u.ErrorCount = sent.Actual, sent.ErrorCount
	u.Finish(sent.Status)
}

// Cancel implements [usb.Device].
func (p *Path) Cancel(u *usb.URB) {
	p.mu.Lock()
	sent, down := p.sent[u], p.down
	if down {
		delete(p.sent, u)
	}
	p.mu.Unlock()
	if sent == nil {
		return
	}
	p.push(laneID{u.Endpoint, false}, 0, func() { p.Device.Cancel(sent) })
	if down {
		u.Actual = 0
		u.Finish(usb.StatusReset)
	}
}

// Close implements [usb.Device]. It does not wait for the delay.
func (p *Path) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.fireAll()
	err := p.Device.Close()
	p.fireAll()
	return err
}

// push runs a function after the delay of the path.
func (p *Path) push(id laneID, bytes int, run func()) {
	p.mu.Lock()
	l := p.lanes[id]
	if l == nil {
		l = &lane{}
		p.lanes[id] = l
	}
	at := time.Now()
	free := &p.free[0]
	if id.back {
		free = &p.free[1]
	}
	if p.cfg.Rate > 0 && bytes > 0 {
		if free.After(at) {
			at = *free
		}
		at = at.Add(time.Duration(int64(bytes) * int64(time.Second) / p.cfg.Rate))
		*free = at
	}
	at = at.Add(p.cfg.Delay)
	if p.cfg.Jitter > 0 {
		at = at.Add(time.Duration(p.random.Int64N(int64(p.cfg.Jitter))))
	}
	if n := len(l.events); n > 0 && l.events[n-1].at.After(at) {
		at = l.events[n-1].at
	}
	l.events = append(l.events, event{at, run})
	p.mu.Unlock()
	time.AfterFunc(time.Until(at), func() { p.fire(l) })
}

func (p *Path) fireAll() {
	p.mu.Lock()
	var all []*lane
	for _, l := range p.lanes {
		all = append(all, l)
	}
	p.mu.Unlock()
	for _, l := range all {
		p.fire(l)
	}
}

// fire runs the events of a lane whose time has come.
func (p *Path) fire(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !l.firing && len(l.events) > 0 && (p.closed || !p.down && !time.Now().Before(l.events[0].at)) {
		e := l.events[0]
		l.events = l.events[1:]
		l.firing = true
		p.mu.Unlock()
		e.run()
		p.mu.Lock()
		l.firing = false
	}
}
