package main

import "testing"

func TestMemoryIsGivenBackOnceItIsQuiet(t *testing.T) {
	const mb = 1 << 20
	var th thrift
	total := uint64(0)
	for i, c := range []struct {
		allocates uint64
		gives     bool
	}{
		{10 * mb, false},  // the start: little to give
		{900 * mb, false}, // a storm
		{500 * mb, false},
		{1 * mb, true}, // over
		{1 * mb, false},
		{20 * mb, false}, // pings alone
		{30 * mb, true},  // have added up
		{33 * mb, false}, // busy
		{33 * mb, false},
		{0, true},
	} {
		total += c.allocates
		if got := th.look(total); got != c.gives {
			t.Errorf("look %d: %v, want %v", i, got, c.gives)
		}
	}
}
