package limits_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

// offered offers packets at a steady pace for ten seconds and returns how many passed per second.
func offered(f *limits.Flow, packets, size int) int {
	passed := 0
	for i := range 10 * packets {
		if f.Take(start.UnixNano()+int64(i)*int64(time.Second)/int64(packets), size) {
			passed++
		}
	}
	return passed / 10
}

func TestFlowHoldsTheStricterBound(t *testing.T) {
	for _, c := range []struct {
		rate       limits.FlowRate
		size, want int
	}{
		{limits.FlowRate{}, 1000, 5000},
		{limits.FlowRate{Packets: 1000}, 1000, 1000},
		{limits.FlowRate{Bytes: 1_000_000}, 1000, 1000},
		{limits.FlowRate{Bytes: 1_000_000, Packets: 500}, 1000, 500},
		{limits.FlowRate{Bytes: 1_000_000, Packets: 5000}, 2000, 500},
	} {
		got := offered(limits.NewFlow(c.rate), 5000, c.size)
		if most := c.want + c.want/40 + 1; got < c.want || got > most {
			t.Errorf("%+v lets %d packets of %d bytes pass per second, want %d to %d",
				c.rate, got, c.size, c.want, most)
		}
	}
}

func TestConcurrentPacketsShareOneFlow(t *testing.T) {
	f := limits.NewFlow(limits.FlowRate{Packets: 1000})
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if f.Take(start.UnixNano(), 1) {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := passed.Load(); n < 250 || n > 251 {
		t.Errorf("%d packets passed at once, want a quarter of the rate", n)
	}
}
