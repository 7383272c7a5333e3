package session_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// attachOverMemory attaches an echoDevice through two sessions and a link in memory.
func attachOverMemory(t testing.TB) usb.Device {
	t.Helper()
	peers := [2]ident.PeerID{{1}, {2}}
	sides := newStreamLink(peers[0], peers[1])
	device := newEchoDevice()
	var sessions [2]*session.Session
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for i := range sessions {
		cfg := session.Config{Local: peers[i], Remote: peers[1-i], Logger: slog.New(slog.DiscardHandler)}
		if i == 1 {
			cfg.Host = oneDevice{device}
		}
		s, err := session.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		sessions[i] = s
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		s.Join(sides[i])
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	dev, err := sessions[0].Attach(ctx, tunnel.Attach{Device: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// oneDevice is a session.Host with one device.
type oneDevice struct{ dev *echoDevice }

func (h oneDevice) Devices() []tunnel.Device { return []tunnel.Device{session.Describe(h.dev.Info())} }

func (h oneDevice) Open(context.Context, tunnel.Attach) (usb.Device, error) { return h.dev, nil }

// echoDevice completes each URB in full and in order, on its own goroutine.
type echoDevice struct {
	urbs chan *usb.URB
	gone chan struct{}
	once sync.Once
	done chan struct{}
}

func newEchoDevice() *echoDevice {
	d := &echoDevice{
		urbs: make(chan *usb.URB, usb.MaxPending), gone: make(chan struct{}), done: make(chan struct{}),
	}
	go func() {
		defer close(d.done)
		for u := range d.urbs {
			u.Actual = len(u.Data)
			u.Finish(usb.StatusOK)
		}
	}()
	return d
}

// The endpoints of an echoDevice.
const (
	echoBulkIn      usb.Endpoint = 0x81
	echoBulkOut     usb.Endpoint = 0x02
	echoInterruptIn usb.Endpoint = 0x83
)

func (d *echoDevice) Info() usb.Info {
	setting := []byte{
		9, 4, 0, 0, 3, 0xff, 0, 0, 0,
		7, 5, byte(echoBulkIn), 2, 0, 2, 0,
		7, 5, byte(echoBulkOut), 2, 0, 2, 0,
		7, 5, byte(echoInterruptIn), 3, 8, 0, 1,
	}
	raw := []byte{18, 1, 0, 2, 0xff, 0, 0, 64, 0x34, 0x12, 0x78, 0x56, 0, 1, 0, 0, 0, 1}
	raw = append(raw, 9, 2, byte(9+len(setting)), 0, 1, 1, 0, 0x80, 50)
	return usb.Info{ID: "echo", Speed: usb.SpeedSuper, Descriptors: append(raw, setting...)}
}

func (d *echoDevice) Submit(u *usb.URB)     { d.urbs <- u }
func (d *echoDevice) Cancel(*usb.URB)       {}
func (d *echoDevice) Gone() <-chan struct{} { return d.gone }

func (d *echoDevice) Close() error {
	d.once.Do(func() { close(d.urbs) })
	<-d.done
	return nil
}

// streamLink is one side of a link in memory. Each lane is a stream of bytes, as it is over QUIC. It writes and reads
// frames like a real link.
type streamLink struct {
	info  link.Info
	other *streamLink
	ended chan struct{} // shared by both sides
	end   func()

	mu    sync.Mutex
	lanes map[tunnel.Lane]*stream // guarded by mu: those that this side sends on
	added chan *stream            // lanes that this side has yet to read
}

func newStreamLink(dialer, acceptor ident.PeerID) [2]*streamLink {
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	var sides [2]*streamLink
	for i, peer := range []ident.PeerID{acceptor, dialer} {
		sides[i] = &streamLink{
			info:  link.Info{Peer: peer, Dialed: i == 0, Path: link.Path{Rank: link.RankHost, Transport: "memory"}},
			ended: ended, end: end,
			lanes: make(map[tunnel.Lane]*stream), added: make(chan *stream, 64),
		}
	}
	sides[0].other, sides[1].other = sides[1], sides[0]
	return sides
}

func (l *streamLink) Info() link.Info     { return l.info }
func (l *streamLink) Stats() link.Stats   { return link.Stats{} }
func (l *streamLink) EndLane(tunnel.Lane) {}
func (l *streamLink) Close(string)        { l.end() }

func (l *streamLink) Send(f tunnel.Frame) error {
	l.mu.Lock()
	s := l.lanes[f.Lane]
	if s == nil {
		s = newStream(l.ended)
		l.lanes[f.Lane] = s
		l.other.added <- s
	}
	l.mu.Unlock()
	return link.WriteFrame(s, f)
}

func (l *streamLink) Run(_ context.Context, deliver func(tunnel.Frame) error) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	for {
		select {
		case s := <-l.added:
			lanes.Go(func() {
				from := bufio.NewReaderSize(s, 64<<10)
				for {
					f, err := tunnel.ReadFrame(from)
					if err != nil || deliver(f) != nil {
						l.end()
						return
					}
				}
			})
		case <-l.ended:
			return nil
		}
	}
}

// stream is a bounded pipe of bytes with one writer and one reader.
type stream struct {
	ended    <-chan struct{}
	canRead  chan struct{}
	canWrite chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	ring    []byte
	written int // bytes in total
	taken   int // bytes in total
}

func newStream(ended <-chan struct{}) *stream {
	return &stream{
		ended: ended, canRead: make(chan struct{}, 1), canWrite: make(chan struct{}, 1),
		ring: make([]byte, 256<<10),
	}
}

func (s *stream) Write(b []byte) (int, error) {
	for n := 0; ; {
		s.mu.Lock()
		empty := s.written == s.taken
		for n < len(b) && s.written-s.taken < len(s.ring) {
			at := s.written % len(s.ring)
			room := min(len(s.ring)-at, len(s.ring)-(s.written-s.taken))
			moved := copy(s.ring[at:at+room], b[n:])
			n, s.written = n+moved, s.written+moved
		}
		s.mu.Unlock()
		if empty {
			notify(s.canRead)
		}
		if n == len(b) {
			return n, nil
		}
		select {
		case <-s.canWrite:
		case <-s.ended:
			return n, io.ErrClosedPipe
		}
	}
}

func (s *stream) Read(b []byte) (int, error) {
	for {
		s.mu.Lock()
		at, full := s.taken%len(s.ring), s.written-s.taken == len(s.ring)
		n := copy(b, s.ring[at:min(len(s.ring), at+s.written-s.taken)])
		s.taken += n
		s.mu.Unlock()
		if full {
			notify(s.canWrite)
		}
		if n > 0 {
			return n, nil
		}
		select {
		case <-s.canRead:
		case <-s.ended:
			return 0, io.EOF
		}
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
