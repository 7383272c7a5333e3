package signal_test

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestBackoffIsImmediateOnceThenRandomUpToABound(t *testing.T) {
	var b signal.Backoff
	if d := b.Next(true); d != 0 {
		t.Errorf("after a steady connection: %s", d)
	}
	longest := time.Duration(0)
	for range 200 {
		d := b.Next(false)
		if d < signal.MinDelay || d > signal.MaxDelay {
			t.Fatalf("wait of %s", d)
		}
		longest = max(longest, d)
	}
	if longest < signal.MaxDelay/2 {
		t.Errorf("the longest of 200 waits is %s", longest)
	}
	if d := b.Next(true); d != 0 {
		t.Errorf("after a steady connection: %s", d)
	}
}
