//go:build unix

package session_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// BenchmarkURBs measures URBs that a client submits to a device of a host through two sessions and a link in
// memory. Processor time is that of the whole process: both sessions, the link, and the device.
func BenchmarkURBs(b *testing.B) {
	for _, c := range []struct {
		name     string
		endpoint usb.Endpoint
		size     int
		inFlight int
	}{
		{"interrupt/1", 0x83, 8, 1},
		{"interrupt/32", 0x83, 8, 32},
		{"bulkIn64K/1", 0x81, 64 << 10, 1},
		{"bulkIn64K/32", 0x81, 64 << 10, 32},
		{"bulkOut64K/1", 0x02, 64 << 10, 1},
		{"bulkOut64K/32", 0x02, 64 << 10, 32},
	} {
		b.Run(c.name, func(b *testing.B) {
			dev := attachOverMemory(b)
			free := make(chan *usb.URB, c.inFlight)
			for range c.inFlight {
				free <- &usb.URB{Endpoint: c.endpoint, Data: make([]byte, c.size), Done: func(u *usb.URB) {
					if u.Status != usb.StatusOK || u.Actual != len(u.Data) {
						b.Errorf("URB completed with status %d and %d bytes", u.Status, u.Actual)
					}
					free <- u
				}}
			}
			b.ReportAllocs()
			b.SetBytes(int64(c.size))
			began := processorTime(b)
			b.ResetTimer()
			for range b.N {
				dev.Submit(<-free)
			}
			for range c.inFlight {
				<-free
			}
			b.StopTimer()
			used := processorTime(b) - began
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "URBs/s")
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/URB")
			if c.size > 8 {
				b.ReportMetric(used.Seconds()/(float64(b.N)*float64(c.size)/1e9), "cpu-s/GB")
			}
		})
	}
}

// processorTime returns the processor time that the process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// attachOverMemory attaches an echoDevice through two sessions.
func attachOverMemory(b *testing.B) usb.Device {
	b.Helper()
	peers := [2]ident.PeerID{{1}, {2}}
	ends := newStreamLink(peers[0], peers[1])
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
			b.Fatal(err)
		}
		sessions[i] = s
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				b.Error(err)
			}
		})
		s.Join(ends[i])
	}
	b.Cleanup(func() { cancel(); running.Wait() })
	dev, err := sessions[0].Attach(ctx, tunnel.Attach{Device: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	return dev
}

// oneDevice is a session.Host of one device.
type oneDevice struct{ dev *echoDevice }

func (h oneDevice) Devices() []tunnel.Device { return []tunnel.Device{session.Describe(h.dev.Info())} }

func (h oneDevice) Open(context.Context, tunnel.Attach) (usb.Device, error) { return h.dev, nil }

// echoDevice completes each URB in full, in order, on a goroutine of its own.
type echoDevice struct {
	urbs chan *usb.URB
	gone chan struct{}
	once sync.Once
	done chan struct{}
}

func newEchoDevice() *echoDevice {
	d := &echoDevice{urbs: make(chan *usb.URB, usb.MaxPending), gone: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		for u := range d.urbs {
			u.Actual = len(u.Data)
			u.Finish(usb.StatusOK)
		}
	}()
	return d
}

func (d *echoDevice) Info() usb.Info {
	setting := []byte{9, 4, 0, 0, 3, 0xff, 0, 0, 0, 7, 5, 0x81, 2, 0, 2, 0, 7, 5, 0x02, 2, 0, 2, 0, 7, 5, 0x83, 3, 8, 0, 1}
	raw := []byte{18, 1, 0, 2, 0xff, 0, 0, 64, 0x34, 0x12, 0x78, 0x56, 0, 1, 0, 0, 0, 1}
	raw = append(raw, 9, 2, byte(9+len(setting)), 0, 1, 1, 0, 0x80, 50)
	return usb.Info{ID: "bench", Speed: usb.SpeedSuper, Descriptors: append(raw, setting...)}
}

func (d *echoDevice) Submit(u *usb.URB)     { d.urbs <- u }
func (d *echoDevice) Cancel(*usb.URB)       {}
func (d *echoDevice) Gone() <-chan struct{} { return d.gone }

func (d *echoDevice) Close() error {
	d.once.Do(func() { close(d.urbs) })
	<-d.done
	return nil
}

// streamLink is one end of a link in memory. Each lane is a stream of bytes, as it is over QUIC: frames are
// written and read like those of a real link.
type streamLink struct {
	remote ident.PeerID
	dialed bool
	other  *streamLink
	ended  chan struct{} // shared by both ends
	end    func()

	mu    sync.Mutex
	lanes map[tunnel.Lane]*stream // guarded by mu: those that this end sends on
	fresh chan *stream            // lanes that this end has yet to read
}

func newStreamLink(dialer, acceptor ident.PeerID) [2]*streamLink {
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	var ends [2]*streamLink
	for i, remote := range []ident.PeerID{acceptor, dialer} {
		ends[i] = &streamLink{
			remote: remote, dialed: i == 0, ended: ended, end: end,
			lanes: make(map[tunnel.Lane]*stream), fresh: make(chan *stream, 64),
		}
	}
	ends[0].other, ends[1].other = ends[1], ends[0]
	return ends
}

func (l *streamLink) Stats() link.Stats   { return link.Stats{} }
func (l *streamLink) EndLane(tunnel.Lane) {}
func (l *streamLink) Close(string)        { l.end() }

func (l *streamLink) Info() link.Info {
	return link.Info{Peer: l.remote, Dialed: l.dialed, Path: link.Path{Rank: link.RankHost, Transport: "memory"}}
}

func (l *streamLink) Send(f tunnel.Frame) error {
	l.mu.Lock()
	s := l.lanes[f.Lane]
	if s == nil {
		s = newStream(l.ended)
		l.lanes[f.Lane] = s
		l.other.fresh <- s
	}
	l.mu.Unlock()
	return link.WriteFrame(s, f)
}

func (l *streamLink) Run(_ context.Context, deliver func(tunnel.Frame) error) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	for {
		select {
		case s := <-l.fresh:
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

// stream is a bounded pipe of bytes.
type stream struct {
	ended          <-chan struct{}
	canRead        chan struct{}
	canWrite       chan struct{}
	mu             sync.Mutex
	ring           []byte // guarded by mu, like the counters of bytes
	written, taken int
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
			moved := copy(s.ring[at:min(len(s.ring), at+len(s.ring)-(s.written-s.taken))], b[n:])
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
