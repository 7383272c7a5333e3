package httpapi

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiterForgetsTheOldestSource(t *testing.T) {
	l := newLimiter[netip.Prefix](Limit{PerMinute: 1, Burst: 1}, Limit{})
	now := time.Unix(1_000_000, 0)
	first := netip.MustParseAddr("192.0.2.1")
	for range maxSources {
		l.take(sourceOf(first), now)
		first = first.Next()
	}
	if _, ok := l.take(sourceOf(netip.MustParseAddr("192.0.2.1")), now); ok {
		t.Error("a source within the bound was forgotten")
	}
	l.take(sourceOf(first), now) // one more: the second source is the oldest now
	if n := len(l.sources); n != maxSources || l.recent.Len() != n {
		t.Errorf("%d sources and %d in order, want %d", n, l.recent.Len(), maxSources)
	}
	if _, ok := l.take(sourceOf(netip.MustParseAddr("192.0.2.2")), now); !ok {
		t.Error("the oldest source was kept")
	}
}

func TestSourceOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":             "192.0.2.7/32",
		"::ffff:192.0.2.7":      "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"fe80::1%eth0":          "fe80::/64",
		"2001:db8:1:2:ffff::99": "2001:db8:1:2::/64",
	} {
		if got := sourceOf(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
	if got := sourceOf(netip.Addr{}); got.IsValid() {
		t.Errorf("nobody counts as %s", got)
	}
}
