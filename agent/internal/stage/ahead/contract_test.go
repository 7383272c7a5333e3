package ahead_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/ahead"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// withPlan returns a stage with transfers ahead, and OUTs that are answered early or not.
func withPlan(first int, early bool) stagetest.Wrap {
	return func(t *testing.T, dev usb.Device, cfg stagetest.PathConfig) (usb.Device, *stagetest.Path) {
		t.Helper()
		path := stagetest.NewPath(dev, cfg)
		plan := ahead.Plan{In: map[usb.Endpoint]ahead.Policy{stagetest.ReportIn: {
			MaxPacket: 16, First: first, Max: 64, Interval: time.Millisecond, TTL: time.Second,
		}}}
		if early {
			plan.Out = map[usb.Endpoint]ahead.Early{stagetest.ReportOut: {In: stagetest.ReportIn}}
		}
		return ahead.New(path, plan, ahead.Limits{RoundTrip: path.RoundTrip, Transfers: 192}), path
	}
}

func TestDriverSeesNoDifference(t *testing.T) {
	for seed := range uint64(40) {
		stagetest.Reports(t, seed, 150, withPlan(int(seed%3)*20, seed%2 == 1))
	}
}

func TestHostileDriverLeavesNothingPosted(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 4))
	for n := range 600 {
		input := make([]byte, random.IntN(80))
		for i := range input {
			input[i] = byte(random.Uint32())
		}
		stagetest.HostileReports(t, input, withPlan(n%3*20, n%2 == 1))
	}
}

func FuzzHostileDriver(f *testing.F) {
	f.Add([]byte{0x20, 5, 5, 0x20, 11, 5, 0x20})
	f.Add([]byte{0x20, 0x93, 12, 0x8c, 0x93, 0x20, 0x8d, 24})
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 100 {
			return
		}
		stagetest.HostileReports(t, input, withPlan(20, true))
	})
}
