package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// The endpoints of the model device.
const (
	epBulkIn  usb.Endpoint = 0x81
	epBulkOut usb.Endpoint = 0x02
	epIntrIn  usb.Endpoint = 0x83
	epIsoIn   usb.Endpoint = 0x84
	epIsoOut  usb.Endpoint = 0x05
)

// modelDescriptors returns the descriptors of a device with those endpoints.
func modelDescriptors() []byte {
	b := []byte{18, 1, 0, 2, 0xff, 0, 0, 64, 0x34, 0x12, 0x78, 0x56, 0, 1, 0, 0, 0, 1}
	var rest []byte
	rest = append(rest, 9, 4, 0, 0, 5, 0xff, 0, 0, 0)
	for _, e := range []struct {
		address usb.Endpoint
		kind    usb.TransferType
	}{
		{epBulkIn, usb.Bulk},
		{epBulkOut, usb.Bulk},
		{epIntrIn, usb.Interrupt},
		{epIsoIn, usb.Isochronous},
		{epIsoOut, usb.Isochronous},
	} {
		rest = append(rest, 7, 5, byte(e.address), byte(e.kind), 0, 2, 1)
	}
	total := 9 + len(rest)
	return append(append(b, 9, 2, byte(total), byte(total>>8), 1, 1, 0, 0x80, 50), rest...)
}

// pattern returns the data of URB id. Each byte differs from its neighbours.
func pattern(id, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(id*31 + i*7 + i>>8)
	}
	return b
}

// isoActual returns the number of bytes of an isochronous packet that the model fills.
func isoActual(id, packet int, length uint32) uint32 {
	return uint32(id+packet*5) % (length + 1)
}

// model is a device that records every URB that it receives. URB.StartFrame is the number of the URB.
type model struct {
	info usb.Info
	gone chan struct{}
	slow time.Duration // the longest time that an URB takes; 0: it completes when it is cancelled

	mu     sync.Mutex
	rng    *rand.Rand
	runs   map[int]int
	wrong  []string
	last   map[usb.Endpoint]int
	queues map[usb.Endpoint][]*usb.URB
	busy   map[usb.Endpoint]*time.Timer
	held   int // bytes of data of the URBs that it has
	peak   int
	closed int
}

func newModel(seed uint64, slow time.Duration) *model {
	return &model{
		info: usb.Info{
			ID: "1-1", Speed: usb.SpeedHigh, Vendor: 0x1234, Product: 0x5678, ProductName: "model",
			Descriptors: modelDescriptors(),
		},
		gone: make(chan struct{}), slow: slow, rng: rand.New(rand.NewPCG(seed, 7)),
		runs: make(map[int]int), last: make(map[usb.Endpoint]int),
		queues: make(map[usb.Endpoint][]*usb.URB), busy: make(map[usb.Endpoint]*time.Timer),
	}
}

func (m *model) Info() usb.Info        { return m.info }
func (m *model) Gone() <-chan struct{} { return m.gone }

func (m *model) Submit(u *usb.URB) {
	m.mu.Lock()
	id := int(u.StartFrame)
	m.runs[id]++
	if id <= m.last[u.Endpoint] {
		m.wrong = append(m.wrong,
			fmt.Sprintf("URB %d ran after URB %d on endpoint %#x", id, m.last[u.Endpoint], u.Endpoint))
	}
	m.last[u.Endpoint] = id
	if !u.In() && !slices.Equal(u.Data, pattern(id, len(u.Data))) {
		m.wrong = append(m.wrong, fmt.Sprintf("URB %d arrived with wrong data", id))
	}
	m.held += len(u.Data)
	m.peak = max(m.peak, m.held)
	if m.closed > 0 {
		m.wrong = append(m.wrong, fmt.Sprintf("URB %d ran on a closed device", id))
	}
	if m.slow > 0 && len(m.queues[u.Endpoint]) == 0 && m.rng.IntN(4) == 0 {
		m.fill(u)
		m.mu.Unlock()
		u.Finish(usb.StatusOK)
		return
	}
	m.queues[u.Endpoint] = append(m.queues[u.Endpoint], u)
	m.schedule(u.Endpoint)
	m.mu.Unlock()
}

// schedule completes the first URB of an endpoint after a random time. m.mu must be held.
func (m *model) schedule(e usb.Endpoint) {
	if m.slow == 0 || m.busy[e] != nil || len(m.queues[e]) == 0 {
		return
	}
	m.busy[e] = time.AfterFunc(time.Duration(m.rng.Int64N(int64(m.slow))), func() { m.step(e) })
}

// step completes the first URB of an endpoint.
func (m *model) step(e usb.Endpoint) {
	m.mu.Lock()
	m.busy[e] = nil
	if len(m.queues[e]) == 0 {
		m.mu.Unlock()
		return
	}
	u := m.queues[e][0]
	m.queues[e] = m.queues[e][1:]
	m.fill(u)
	m.mu.Unlock()
	u.Finish(usb.StatusOK)
	m.mu.Lock()
	m.schedule(e)
	m.mu.Unlock()
}

// fill sets the result of an URB. m.mu must be held.
func (m *model) fill(u *usb.URB) {
	id := int(u.StartFrame)
	m.held -= len(u.Data)
	u.Actual = len(u.Data)
	if len(u.Packets) > 0 {
		u.Actual = 0
	}
	for i := range u.Packets {
		p := &u.Packets[i]
		p.Actual = isoActual(id, i, p.Length)
		u.Actual += int(p.Actual)
		if u.In() {
			copy(u.Data[p.Offset:], pattern(id+i, int(p.Actual)))
		}
	}
	if u.In() && len(u.Packets) == 0 {
		copy(u.Data, pattern(id, len(u.Data)))
	}
}

func (m *model) Cancel(u *usb.URB) {
	m.mu.Lock()
	q := m.queues[u.Endpoint]
	i := slices.Index(q, u)
	if i >= 0 {
		m.queues[u.Endpoint] = slices.Delete(slices.Clone(q), i, i+1)
		m.held -= len(u.Data)
	}
	m.mu.Unlock()
	if i >= 0 {
		u.Finish(usb.StatusReset)
	}
}

func (m *model) Close() error {
	m.mu.Lock()
	m.closed++
	var left []*usb.URB
	for e, q := range m.queues {
		left = append(left, q...)
		if t := m.busy[e]; t != nil {
			t.Stop()
		}
	}
	clear(m.queues)
	m.mu.Unlock()
	for _, u := range left {
		u.Finish(usb.StatusShutdown)
	}
	return nil
}

func (m *model) closes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// testHost is a Host with one device. It refuses it if refuse is not nil.
type testHost struct {
	dev    usb.Device
	refuse error
	opens  int
	mu     sync.Mutex
}

func (s *testHost) Devices() []tunnel.Device { return []tunnel.Device{Describe(s.dev.Info())} }

func (s *testHost) Open(ctx context.Context, a tunnel.Attach) (usb.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return nil, s.refuse
	}
	if a.Device != s.dev.Info().ID {
		return nil, fmt.Errorf("%w: %s", usb.ErrNotFound, a.Device)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.opens++
	return s.dev, nil
}
