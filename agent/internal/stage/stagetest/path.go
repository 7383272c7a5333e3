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
	Rate   int64         // bytes per second towards the computer; 0: without a limit
	Seed   uint64
}

// Path is a device behind a path with a delay. Each endpoint and direction has a lane of its
// own that keeps its order. Lanes overtake each other, as those of a session do.
//
// While the path is down, nothing arrives. As with a session without a link, a cancelled URB
// completes at once then, and its result is dropped when it arrives.
type Path struct {
	usb.Device
	cfg PathConfig

	mu     sync.Mutex
	random *rand.Rand
	lanes  map[lane]chan event
	sent   map[*usb.URB]*usb.URB // URBs that are not complete, with what the device has
	free   time.Time             // when the path can carry the next data
	joined sync.WaitGroup
	closed bool
	down   bool
	up     sync.Cond // on mu; signalled when down becomes false
}

type lane struct {
	endpoint usb.Endpoint
	back     bool // towards the computer
}

type event struct {
	at  time.Time
	run func()
}

// NewPath returns dev behind a path.
func NewPath(dev usb.Device, cfg PathConfig) *Path {
	p := &Path{
		Device: dev, cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 1)), lanes: map[lane]chan event{},
		sent: map[*usb.URB]*usb.URB{},
	}
	p.up.L = &p.mu
	return p
}

// SetDown takes the path down, or up again.
func (p *Path) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	p.up.Broadcast()
}

// wait waits while the path is down.
func (p *Path) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.down && !p.closed {
		p.up.Wait()
	}
}

// Submit implements [usb.Device].
func (p *Path) Submit(u *usb.URB) {
	sent := *u
	data := u.Data
	if u.In() {
		sent.Data = make([]byte, len(u.Data))
	}
	sent.Done = func(*usb.URB) {
		n := 0
		if sent.In() {
			n = sent.Actual
		}
		p.push(lane{u.Endpoint, true}, n, func() {
			p.mu.Lock()
			pending := p.sent[u] == &sent
			if pending {
				delete(p.sent, u)
			}
			p.mu.Unlock()
			if !pending {
				return
			}
			if sent.In() {
				copy(data, sent.Data[:sent.Actual])
			}
			u.Actual, u.ErrorCount = sent.Actual, sent.ErrorCount
			u.Finish(sent.Status)
		})
	}
	p.mu.Lock()
	p.sent[u] = &sent
	p.mu.Unlock()
	p.push(lane{u.Endpoint, false}, 0, func() { p.Device.Submit(&sent) })
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
	p.push(lane{u.Endpoint, false}, 0, func() { p.Device.Cancel(sent) })
	if down {
		u.Actual = 0
		u.Finish(usb.StatusReset)
	}
}

// Close implements [usb.Device].
func (p *Path) Close() error {
	err := p.Device.Close()
	p.mu.Lock()
	p.closed = true
	p.up.Broadcast()
	for _, c := range p.lanes {
		close(c)
	}
	p.mu.Unlock()
	p.joined.Wait()
	return err
}

// push runs a function after the delay of the path.
func (p *Path) push(l lane, bytes int, run func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go run()
		return
	}
	c := p.lanes[l]
	if c == nil {
		c = make(chan event, 4096)
		p.lanes[l] = c
		p.joined.Go(func() {
			for e := range c {
				time.Sleep(time.Until(e.at))
				p.wait()
				e.run()
			}
		})
	}
	at := time.Now()
	if p.cfg.Rate > 0 && bytes > 0 {
		if p.free.After(at) {
			at = p.free
		}
		at = at.Add(time.Duration(int64(bytes) * int64(time.Second) / p.cfg.Rate))
		p.free = at
	}
	at = at.Add(p.cfg.Delay)
	if p.cfg.Jitter > 0 {
		at = at.Add(time.Duration(p.random.Int64N(int64(p.cfg.Jitter))))
	}
	c <- event{at, run}
}
