package signal_test

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestBackoffIsRandomAndShortAtFirst(t *testing.T) {
	var b signal.Backoff
	if d := b.Next(true); d > time.Second {
		t.Errorf("after a steady connection: %s", d)
	}
	longest := time.Duration(0)
	for range 200 {
		d := b.Next(false)
		if d < signal.MinDelay || d > signal.MaxDelay {
			t.Fatalf("delay of %s", d)
		}
		longest = max(longest, d)
	}
	if longest < signal.MaxDelay/2 {
		t.Errorf("the longest of 200 delays is %s, want more than half of the maximum", longest)
	}
	if d := b.Next(true); d > time.Second {
		t.Errorf("after a steady connection: %s", d)
	}
}

func TestPauseIsBounded(t *testing.T) {
	for pause, want := range map[time.Duration]time.Duration{
		5 * time.Second: 5 * time.Second, 0: 0, -time.Second: 0, 1000 * time.Hour: signal.MaxPause,
	} {
		if d := signal.Spread(pause); d < want || d > want+time.Second {
			t.Errorf("a pause of %s: %s", pause, d)
		}
	}
}
