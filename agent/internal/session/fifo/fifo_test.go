package fifo_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/session/fifo"
)

func TestQueueBehavesLikeASlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var q fifo.Queue[int]
	var want []int
	for n := range 20_000 {
		switch action := rng.IntN(10); {
		case action < 5:
			q.Push(n)
			want = append(want, n)
		case action < 8 && len(want) > 0:
			if got := q.Pop(); got != want[0] {
				t.Fatalf("popped %d, want %d", got, want[0])
			}
			want = want[1:]
		case action < 9 && len(want) > 0:
			i := rng.IntN(len(want))
			q.Delete(i)
			want = slices.Delete(slices.Clone(want), i, i+1)
		default:
			i := rng.IntN(len(want) + 1)
			q.Drop(i)
			want = want[i:]
		}
		if q.Len() != len(want) {
			t.Fatalf("%d items, want %d", q.Len(), len(want))
		}
		for i, v := range want {
			if *q.At(i) != v {
				t.Fatalf("item %d is %d, want %d", i, *q.At(i), v)
			}
		}
	}
}

func TestQueueReusesItsMemory(t *testing.T) {
	var q fifo.Queue[int]
	for n := range 8 {
		q.Push(n)
	}
	allocs := testing.AllocsPerRun(1000, func() {
		q.Push(1)
		q.Pop()
	})
	if allocs > 0.1 {
		t.Errorf("%v allocations for each Push and Pop, want none", allocs)
	}
}
