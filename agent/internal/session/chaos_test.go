package session

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	chaosRuns = flag.Int("chaos", 300, "the number of random scenarios to play")
	chaosSeed = flag.Uint64("seed", 0, "play the scenario of this seed only")
)

func peerID(n byte) ident.PeerID {
	var id ident.PeerID
	id[0] = n
	return id
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// sessionPair is two sessions with each other. They run until stop is called.
type sessionPair struct {
	t      *testing.T
	a, b   *Session
	stop   [2]context.CancelFunc
	joined sync.WaitGroup
}

// newPair makes two sessions and runs them, in virtual time.
func newPair(t *testing.T, a, b Config) *sessionPair {
	t.Helper()
	a.Local, a.Remote = peerID(1), peerID(2)
	b.Local, b.Remote = peerID(2), peerID(1)
	a.Logger, b.Logger = quiet, quiet
	p := &sessionPair{t: t}
	p.a, p.stop[0] = p.run(a)
	p.b, p.stop[1] = p.run(b)
	return p
}

func (p *sessionPair) run(c Config) (*Session, context.CancelFunc) {
	p.t.Helper()
	s, err := New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.joined.Go(func() {
		if err := s.Run(ctx); err != nil {
			p.t.Errorf("Run: %v", err)
		}
	})
	return s, cancel
}

// end stops both sessions and waits for them.
func (p *sessionPair) end() {
	p.stop[0]()
	p.stop[1]()
	p.joined.Wait()
}

// connect connects the two sessions by a cable that a or b dials. It is cut after that many frames, or never if
// negative.
func (p *sessionPair) connect(rng *rand.Rand, aDials bool, rank link.Rank, cut int) *cable {
	if aDials {
		c := newCable(rng, peerID(1), peerID(2), rank, cut)
		p.a.Join(c.ends[0])
		p.b.Join(c.ends[1])
		return c
	}
	c := newCable(rng, peerID(2), peerID(1), rank, cut)
	p.b.Join(c.ends[0])
	p.a.Join(c.ends[1])
	return c
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// TestChaos plays random scenarios: both peers share and use a device, while links join, are replaced, and are cut at
// random frames, and URBs are cancelled at random moments.
func TestChaos(t *testing.T) {
	if *chaosSeed != 0 {
		synctest.Test(t, func(t *testing.T) { runChaos(t, *chaosSeed) })
		return
	}
	var sum Counters
	for i := range *chaosRuns {
		seed := rand.Uint64() | 1
		synctest.Test(t, func(t *testing.T) {
			c := runChaos(t, seed)
			sum.Losses += c.Losses
			sum.Switches += c.Switches
			sum.Duplicates += c.Duplicates
			sum.FramesReceived += c.FramesReceived
		})
		if t.Failed() {
			t.Fatalf("scenario %d failed; play it again with -run TestChaos -args -seed %d", i, seed)
		}
	}
	t.Logf("%d scenarios: %d frames, %d duplicates; %d times a link became active, %d times the last one was lost",
		*chaosRuns, sum.FramesReceived, sum.Duplicates, sum.Switches, sum.Losses)
	if runs := uint64(*chaosRuns); sum.Losses < runs || sum.Duplicates < runs/2 {
		t.Error("too few losses and duplicates for the test to mean anything")
	}
}

func runChaos(t *testing.T, seed uint64) Counters {
	devices := [2]*model{newModel(seed, 30*time.Millisecond), newModel(seed+1, 30*time.Millisecond)}
	p := newPair(t,
		Config{Host: &testHost{dev: devices[0]}, OnEvent: noReset(t, seed)},
		Config{Host: &testHost{dev: devices[1]}, OnEvent: noReset(t, seed)})
	done := make(chan struct{})
	var chaos, users sync.WaitGroup
	chaos.Go(func() { cutAndJoin(p, newRand(seed+2), done) })
	users.Go(func() { useDevice(t, p.a, devices[1], seed+3) })
	users.Go(func() { useDevice(t, p.b, devices[0], seed+4) })
	users.Wait()
	close(done)
	chaos.Wait()
	p.end()
	for _, d := range devices {
		if d.closes() != 1 {
			t.Errorf("seed %d: the device was given back %d times", seed, d.closes())
		}
	}
	return p.a.Status().Counters
}

func noReset(t *testing.T, seed uint64) func(Event) {
	return func(e Event) {
		if e.Kind == Reset && e.Reason != "the peer's agent was stopped" && e.Reason != "this agent is stopping" {
			t.Errorf("seed %d: reset: %s", seed, e.Reason)
		}
	}
}

// cutAndJoin joins and cuts links until done is closed. It leaves one that works.
func cutAndJoin(p *sessionPair, rng *rand.Rand, done chan struct{}) {
	ranks := []link.Rank{link.RankRelayTCP, link.RankRelayUDP, link.RankTLS, link.RankHost}
	running := true
	for n := 0; running; n++ {
		cut := rng.IntN(80)
		if n > 25 || rng.IntN(8) == 0 {
			cut = -1
		}
		c := p.connect(newRand(rng.Uint64()), rng.IntN(2) == 0, ranks[rng.IntN(len(ranks))], cut)
		c.mu.Lock()
		c.delay = time.Duration(rng.IntN(3)) * 10 * time.Millisecond
		c.mu.Unlock()
		timer := time.NewTimer(time.Duration(rng.IntN(2000)) * time.Millisecond)
		select {
		case <-done:
			running = false
		case <-timer.C:
		case <-c.over:
		}
		timer.Stop()
		switch fate := rng.IntN(12); {
		case !running || n >= 25:
		case fate < 4:
			c.cut(rng.IntN(2) == 0)
		case fate < 6:
			c.silence()
		}
	}
}

// useDevice attaches the device of the other peer, runs a workload on it, and checks the results.
func useDevice(t *testing.T, s *Session, m *model, seed uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	list, err := s.Devices(ctx)
	if err != nil || len(list) != 1 || list[0].ID != "1-1" {
		t.Errorf("seed %d: devices: %v, %v", seed, list, err)
		return
	}
	dev, err := s.Attach(ctx, tunnel.Attach{Device: "1-1", Expect: Fingerprint(modelDescriptors())})
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return
	}
	w := &workload{
		t: t, seed: seed, rng: newRand(seed), dev: dev,
		done: make(map[int]int), cancelled: make(map[int]bool), last: make(map[usb.Endpoint]int),
	}
	w.run(ctx)
	if err := dev.Close(); err != nil {
		t.Errorf("seed %d: close: %v", seed, err)
	}
	w.check(m)
}

// workload submits random URBs and records their completions.
type workload struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	dev  usb.Device
	open sync.WaitGroup

	mu        sync.Mutex
	done      map[int]int // completions of each URB
	cancelled map[int]bool
	ok        []int // completed with StatusOK, in that order
	last      map[usb.Endpoint]int
	wrong     []string
}

func (w *workload) run(ctx context.Context) {
	endpoints := []usb.Endpoint{0, epBulkIn, epBulkOut, epIntrIn, epIsoIn, epIsoOut}
	var mine []*usb.URB
	for id := 1; id <= 60; id++ {
		u := w.newURB(id, endpoints[w.rng.IntN(len(endpoints))])
		w.open.Add(1)
		w.dev.Submit(u)
		mine = append(mine, u)
		if w.rng.IntN(6) == 0 {
			n := w.rng.IntN(len(mine))
			w.cancel(n+1, mine[n])
		}
		if w.rng.IntN(5) == 0 {
			time.Sleep(time.Duration(w.rng.IntN(400)) * time.Millisecond)
		}
	}
	all := make(chan struct{})
	go func() { w.open.Wait(); close(all) }()
	select {
	case <-all:
	case <-ctx.Done():
		w.t.Errorf("seed %d: URBs hang: %+v", w.seed, w.done)
	}
}

// cancel cancels URB number id. It gets the number separately, because the fields of u belong to the device until u is
// done.
func (w *workload) cancel(id int, u *usb.URB) {
	w.mu.Lock()
	w.cancelled[id] = true
	w.mu.Unlock()
	w.dev.Cancel(u)
}

func (w *workload) newURB(id int, e usb.Endpoint) *usb.URB {
	u := &usb.URB{Endpoint: e, StartFrame: int32(id)}
	size := w.rng.IntN(5000)
	in := e.In()
	if e == 0 {
		size %= 200
		in = w.rng.IntN(2) == 0
		setup := usb.Setup{Type: 0x40, Request: 1, Length: uint16(size)}
		if in {
			setup.Type = 0xc0
		}
		u.Setup = setup.Bytes()
	}
	if e == epIsoIn || e == epIsoOut {
		n := 1 + w.rng.IntN(8)
		size = n * 200
		for i := range n {
			u.Packets = append(u.Packets, usb.IsoPacket{Offset: uint32(i * 200), Length: uint32(150 + w.rng.IntN(51))})
		}
	}
	u.Data = make([]byte, size)
	if !in {
		copy(u.Data, pattern(id, size))
	}
	u.Done = w.completed
	return u
}

func (w *workload) completed(u *usb.URB) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := int(u.StartFrame)
	w.done[id]++
	if w.done[id] > 1 {
		w.wrong = append(w.wrong, fmt.Sprintf("URB %d completed %d times", id, w.done[id]))
		return
	}
	defer w.open.Done()
	if u.Status == usb.StatusReset && w.cancelled[id] {
		return
	}
	if u.Status != usb.StatusOK {
		w.wrong = append(w.wrong, fmt.Sprintf("URB %d: status %d", id, u.Status))
		return
	}
	w.ok = append(w.ok, id)
	if id < w.last[u.Endpoint] {
		w.wrong = append(w.wrong,
			fmt.Sprintf("URB %d completed after %d on endpoint %#x", id, w.last[u.Endpoint], u.Endpoint))
	}
	w.last[u.Endpoint] = id
	if u.In() && !dataAsExpected(u) {
		w.wrong = append(w.wrong, fmt.Sprintf("URB %d returned wrong data", id))
	}
}

func dataAsExpected(u *usb.URB) bool {
	id := int(u.StartFrame)
	if len(u.Packets) == 0 {
		return slices.Equal(u.Data[:u.Actual], pattern(id, len(u.Data)))
	}
	for i, p := range u.Packets {
		data := u.Data[p.Offset : p.Offset+p.Actual]
		if p.Actual != isoActual(id, i, p.Length) || !slices.Equal(data, pattern(id+i, int(p.Actual))) {
			return false
		}
	}
	return true
}

// check compares the completions with the URBs that the device ran.
func (w *workload) check(m *model) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	wrong := append(slices.Clone(w.wrong), m.wrong...)
	for id, n := range m.runs {
		if n != 1 {
			wrong = append(wrong, fmt.Sprintf("URB %d ran %d times", id, n))
		}
	}
	for _, id := range w.ok {
		if m.runs[id] != 1 {
			wrong = append(wrong, fmt.Sprintf("URB %d is complete and ran %d times", id, m.runs[id]))
		}
	}
	if len(w.done) != 60 {
		wrong = append(wrong, fmt.Sprintf("%d of 60 URBs completed", len(w.done)))
	}
	for _, s := range wrong {
		w.t.Errorf("seed %d: %s", w.seed, s)
	}
}
