package lab

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestPolicerDropsOnlyUDPAboveItsRate(t *testing.T) {
	for proto, want := range map[byte][2]int{protoUDP: {1000, 1040}, protoTCP: {2000, 2000}} {
		p := &pipe{rng: rand.New(rand.NewPCG(1, 1))}
		p.cfg.Store(&Impair{UDPRate: 8}) // 1 MB/s
		passed := 0
		for n := range int64(2000) { // 2 MB in a second
			frame := make([]byte, ethernetHeader+1000)
			frame[12], frame[13], frame[ethernetHeader+9] = 8, 0, proto
			if p.accept(frame, n*int64(time.Second)/2000) {
				passed++
			}
		}
		if passed < want[0] || passed > want[1] {
			t.Errorf("protocol %d: %d packets pass, want %d to %d", proto, passed, want[0], want[1])
		}
	}
}
