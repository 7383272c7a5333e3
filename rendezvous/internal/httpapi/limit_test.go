package httpapi

import (
	"net/netip"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/subscriber"
)

func TestLimiterForgetsTheOldestSource(t *testing.T) {
	l := newLimiter[netip.Prefix](Limit{PerMinute: 1, Burst: 1}, Limit{})
	now := time.Unix(1_000_000, 0)
	first := netip.MustParseAddr("192.0.2.1")
	for range maxSources {
		l.take(subscriber.Of(first), now)
		first = first.Next()
	}
	if _, ok := l.take(subscriber.Of(netip.MustParseAddr("192.0.2.1")), now); ok {
		t.Error("a source within the bound was forgotten")
	}
	l.take(subscriber.Of(first), now) // one more: the second source is the oldest now
	if n := len(l.sources); n != maxSources || l.recent.Len() != n {
		t.Errorf("%d sources and %d in order, want %d", n, l.recent.Len(), maxSources)
	}
	if _, ok := l.take(subscriber.Of(netip.MustParseAddr("192.0.2.2")), now); !ok {
		t.Error("the oldest source was kept")
	}
}
