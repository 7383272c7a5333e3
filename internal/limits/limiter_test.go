package limits_test

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

var start = time.Unix(1_000_000, 0)

func TestEachKeyHasItsOwnBucket(t *testing.T) {
	l := limits.NewLimiter[string](limits.Limit{PerSecond: 2, Burst: 3}, 10)
	for i := range 3 {
		if _, ok := l.Take("flooder", start); !ok {
			t.Fatalf("token %d of the burst was refused", i)
		}
	}
	wait, ok := l.Take("flooder", start)
	if ok || wait != 500*time.Millisecond {
		t.Errorf("after the burst: %v, %v, want a wait of 500ms", wait, ok)
	}
	if wait := l.Wait("flooder", start); wait != 500*time.Millisecond {
		t.Errorf("Wait returns %v, want 500ms", wait)
	}
	if _, ok := l.Take("other", start); !ok {
		t.Error("another key was refused")
	}
	later := start.Add(500 * time.Millisecond)
	if wait := l.Wait("flooder", later); wait != 0 {
		t.Errorf("after the wait there is another one of %v", wait)
	}
	if _, ok := l.Take("flooder", later); !ok {
		t.Error("a token was refused after the wait")
	}
}

func TestWaitingTakesNothingAndStoresNothing(t *testing.T) {
	l := limits.NewLimiter[int](limits.Limit{PerSecond: 1, Burst: 1}, 2)
	for range 10 {
		if wait := l.Wait(1, start); wait != 0 {
			t.Fatalf("a fresh key must wait %v", wait)
		}
	}
	if l.Len() != 0 {
		t.Errorf("%d buckets are in use, want none", l.Len())
	}
}

func TestLimitOfNothingAdvisesAMinute(t *testing.T) {
	l := limits.NewLimiter[int](limits.Limit{}, 2)
	if wait, ok := l.Take(1, start); ok || wait != time.Minute {
		t.Errorf("got %v, %v, want a refusal and a minute", wait, ok)
	}
	if wait := l.Wait(1, start); wait != time.Minute {
		t.Errorf("Wait returns %v, want a minute", wait)
	}
}

// TestEvictionDoesNotForgive cycles through more keys than there are buckets.
func TestEvictionDoesNotForgive(t *testing.T) {
	const keys, burst = 8, 4
	l := limits.NewLimiter[int](limits.Limit{PerSecond: 1, Burst: burst}, keys)
	got := 0
	for i := range 10_000 {
		if _, ok := l.Take(i%(keys+1), start); ok {
			got++
		}
	}
	if got != keys*burst {
		t.Errorf("a flood of %d keys got %d tokens, want those of %d buckets: %d", keys+1, got, keys, keys*burst)
	}
	if wait := l.Wait(-1, start); wait != time.Second {
		t.Errorf("a new key must wait %v during the flood, want 1s", wait)
	}
	if _, ok := l.Take(-1, start.Add(time.Second)); !ok {
		t.Error("a new key is still refused after the flood")
	}
}

// TestAllKeysTogetherAreBounded checks the bound that the comment of Limiter promises, and that keys which fit into the
// table are treated exactly like independent token buckets.
func TestAllKeysTogetherAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := limits.Limit{
			PerSecond: float64(rapid.IntRange(1, 100).Draw(t, "rate")),
			Burst:     rapid.IntRange(1, 10).Draw(t, "burst"),
		}
		maxKeys := rapid.IntRange(1, 6).Draw(t, "buckets")
		keys := rapid.IntRange(1, 12).Draw(t, "keys")
		l := limits.NewLimiter[int](limit, maxKeys)
		model := map[int]*rate.Limiter{}
		now, passed := start, 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "pause")) * time.Millisecond)
			key := rapid.IntRange(0, keys-1).Draw(t, "key")
			advised := l.Wait(key, now)
			wait, ok := l.Take(key, now)
			if ok {
				passed++
			}
			if ok != (advised <= 0) || !ok && wait != advised {
				t.Fatalf("Take returns %v, %v after Wait returned %v", wait, ok, advised)
			}
			if l.Len() > maxKeys {
				t.Fatalf("%d buckets, want at most %d", l.Len(), maxKeys)
			}
			if keys <= maxKeys {
				if model[key] == nil {
					model[key] = rate.NewLimiter(rate.Limit(limit.PerSecond), limit.Burst)
				}
				if want := model[key].AllowN(now, 1); ok != want {
					t.Fatalf("key %d: %v, want %v", key, ok, want)
				}
			}
		}
		bound := float64(maxKeys) * (float64(limit.Burst) + limit.PerSecond*now.Sub(start).Seconds())
		if float64(passed) > bound+1e-6 {
			t.Fatalf("%d tokens, want at most %f", passed, bound)
		}
	})
}

func TestConcurrentTakesGetNoTokenTwice(t *testing.T) {
	l := limits.NewLimiter[int](limits.Limit{Burst: 100}, 4)
	var got atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 1000 {
				if _, ok := l.Take((i+n)%6, start); ok {
					got.Add(1)
				}
			}
		})
	}
	all.Wait()
	if got.Load() != 400 {
		t.Errorf("%d tokens were taken, want 400", got.Load())
	}
}

// TestMemoryIsBounded floods a limiter from four times as many sources as it has buckets.
func TestMemoryIsBounded(t *testing.T) {
	const buckets, perBucket = 1 << 14, 512 // bytes
	before := heap()
	l := limits.NewLimiter[netip.Prefix](limits.Limit{PerSecond: 1, Burst: 1}, buckets)
	a := netip.MustParseAddr("10.0.0.0")
	for range 4 * buckets {
		l.Take(limits.Prefix(a), start)
		a = a.Next()
	}
	used := heap() - before
	if l.Len() != buckets {
		t.Errorf("%d buckets, want %d", l.Len(), buckets)
	}
	if used > buckets*perBucket {
		t.Errorf("%d bytes are in use, want at most %d for each of %d buckets", used, perBucket, buckets)
	}
	runtime.KeepAlive(l)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkKeyed(b *testing.B) {
	l := limits.NewLimiter[int](limits.Limit{PerSecond: 1, Burst: 1}, 1<<10)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Take(i&(1<<11-1), start)
	}
}
