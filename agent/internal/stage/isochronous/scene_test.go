package isochronous_test

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/isochronous"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pathConfig describes a network path.
type pathConfig struct {
	delay  time.Duration // one way
	jitter time.Duration // highest additional delay
	loss   float64       // of lossy frames
}

// network is a device of a host behind a path that also carries lossy frames.
type network struct {
	*stagetest.Path
	cfg     pathConfig
	receive [2]func(tunnel.Frame) // at the client and at the host
	host    *isochronous.Host

	mu     sync.Mutex
	random *rand.Rand
	down   bool
	extra  time.Duration // delay in addition to that of cfg
	sent   int64         // bytes
	last   [2]time.Time  // of the last frame to each side
}

func newNetwork(dev usb.Device, cfg pathConfig) *network {
	n := &network{cfg: cfg, host: isochronous.NewHost(dev), random: rand.New(rand.NewPCG(1, 9))}
	n.Path = stagetest.NewPath(n.host, stagetest.PathConfig{Delay: cfg.delay, Jitter: cfg.jitter})
	n.receive[1] = n.host.Isochronous(n.castTo(0))
	return n
}

// Isochronous connects the client.
func (n *network) Isochronous(receive func(tunnel.Frame)) (func(uint8, tunnel.Kind, ...[]byte), bool) {
	n.receive[0] = receive
	return n.castTo(1), true
}

func (n *network) castTo(side int) func(uint8, tunnel.Kind, ...[]byte) {
	return func(endpoint uint8, kind tunnel.Kind, bodies ...[]byte) {
		for _, body := range bodies {
			n.send(side, endpoint, kind, body)
		}
	}
}

// send sends a frame to a side.
func (n *network) send(side int, endpoint uint8, kind tunnel.Kind, body []byte) {
	f := tunnel.Frame{Lane: tunnel.EndpointLane(1, endpoint), Kind: kind, Body: body}
	if err := f.Check(); err != nil {
		panic(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent += int64(len(body))
	if n.down || n.loses(f) {
		return
	}
	delay := n.cfg.delay + n.extra
	if n.cfg.jitter > 0 {
		delay += time.Duration(n.random.Int64N(int64(n.cfg.jitter)))
	}
	at := time.Now().Add(delay)
	if n.cfg.jitter == 0 && !at.After(n.last[side]) {
		at = n.last[side].Add(1) // in order
	}
	n.last[side] = at
	time.AfterFunc(time.Until(at), func() { n.receive[side](f) })
}

// loses decides whether a frame is lost. The result for a shard depends on its numbers only,
// so that a run can be repeated.
func (n *network) loses(f tunnel.Frame) bool {
	if f.Kind != tunnel.KindShard {
		return n.random.Float64() < n.cfg.loss
	}
	const head = 15
	hash := fnv.New64a()
	_, _ = hash.Write(f.Body[:head])
	return rand.New(rand.NewPCG(hash.Sum64(), 1)).Float64() < n.cfg.loss
}

// setExtra makes the path longer for lossy frames.
func (n *network) setExtra(delay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.extra = delay
}

func (n *network) setDown(down bool) {
	n.mu.Lock()
	n.down = down
	n.mu.Unlock()
	n.SetDown(down)
}

// newStage returns the stage above a path to a device.
func newStage(t *testing.T, dev usb.Device, cfg pathConfig) (*isochronous.Stage, *network) {
	t.Helper()
	n := newNetwork(dev, cfg)
	s, reason := isochronous.New(n)
	if s == nil {
		t.Fatal(reason)
	}
	return s, n
}

// selectSetting sets the alternate setting, as a driver does.
func selectSetting(t *testing.T, dev usb.Device, alternate uint16) {
	t.Helper()
	u := &usb.URB{Setup: usb.Setup{Type: 1, Request: 11, Value: alternate}.Bytes()}
	if status := usb.Do(t.Context(), dev, u); status != usb.StatusOK {
		t.Fatalf("alternate setting %d: status %d", alternate, status)
	}
}

// stop stops a driver and returns the number of URBs that are still pending then.
func stop(d *stagetest.IsoDriver) int {
	d.Stop()
	synctest.Wait()
	left, _ := d.Pending()
	return left
}
