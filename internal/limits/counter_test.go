package limits_test

import (
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

func TestCounterHoldsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perKey := rapid.IntRange(1, 4).Draw(t, "per key")
		total := rapid.IntRange(0, 8).Draw(t, "total")
		c := limits.NewCounter[int](perKey, total)
		open, all := map[int]int{}, 0
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			key := rapid.IntRange(0, 4).Draw(t, "key")
			if open[key] > 0 && rapid.Bool().Draw(t, "leaves") {
				c.Leave(key)
				open[key]--
				all--
				continue
			}
			want := open[key] < perKey && (total == 0 || all < total)
			if got := c.Enter(key); got != want {
				t.Fatalf("key %d with %d of %d open: %v, want %v", key, open[key], all, got, want)
			}
			if want {
				open[key]++
				all++
			}
			if c.Len() != all {
				t.Fatalf("%d are open, want %d", c.Len(), all)
			}
		}
	})
}

func TestCounterEndsAtZero(t *testing.T) {
	c := limits.NewCounter[int](2, 3)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 1000 {
				if c.Enter(i % 3) {
					c.Leave(i % 3)
				}
			}
		})
	}
	all.Wait()
	if c.Len() != 0 {
		t.Errorf("%d are open after everybody left", c.Len())
	}
}

func TestLeaveWithoutEnterPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Leave returned")
		}
	}()
	limits.NewCounter[int](1, 1).Leave(1)
}
