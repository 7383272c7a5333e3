package main

import "testing"

func TestMemoryIsReturnedInQuietTimes(t *testing.T) {
	const mb = 1 << 20
	var p memoryPolicy
	total := uint64(0)
	for i, c := range []struct {
		allocates uint64
		returns   bool
	}{
		{10 * mb, false},  // the start: little to return
		{900 * mb, false}, // many peers connect
		{500 * mb, false},
		{1 * mb, true}, // quiet again
		{1 * mb, false},
		{20 * mb, false}, // only pings
		{30 * mb, true},  // enough has accumulated
		{33 * mb, false}, // busy
		{33 * mb, false},
		{0, true},
	} {
		total += c.allocates
		if got := p.check(total); got != c.returns {
			t.Errorf("check %d: %v, want %v", i, got, c.returns)
		}
	}
}
