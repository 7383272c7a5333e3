package limits_test

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

func TestSamplerCountsWhatItSkips(t *testing.T) {
	s := limits.NewSampler(limits.Limit{PerSecond: 0.1, Burst: 2})
	for range 2 {
		if skipped, ok := s.Take(start); !ok || skipped != 0 {
			t.Fatalf("a record of the burst: %d skipped, passed %v", skipped, ok)
		}
	}
	for range 5 {
		if _, ok := s.Take(start.Add(9 * time.Second)); ok {
			t.Fatal("a record passed that exceeds the limit")
		}
	}
	if skipped, ok := s.Take(start.Add(10 * time.Second)); !ok || skipped != 5 {
		t.Errorf("ten seconds later: %d skipped, passed %v, want 5 and true", skipped, ok)
	}
	if skipped, ok := s.Take(start.Add(20 * time.Second)); !ok || skipped != 0 {
		t.Errorf("the record after it: %d skipped, passed %v, want 0 and true", skipped, ok)
	}
}

func TestSamplersNeverSuppressANewKey(t *testing.T) {
	s := limits.NewSamplers[int](limits.Limit{PerSecond: 1.0 / 60, Burst: 1}, 4)
	for key := range 100 {
		if _, ok := s.Take(key, start); !ok {
			t.Errorf("the first record of key %d was suppressed", key)
		}
	}
	if _, ok := s.Take(99, start); ok {
		t.Error("a repeated record passed")
	}
	if skipped, ok := s.Take(99, start.Add(time.Minute)); !ok || skipped != 1 {
		t.Errorf("a minute later: %d skipped, passed %v, want 1 and true", skipped, ok)
	}
}
