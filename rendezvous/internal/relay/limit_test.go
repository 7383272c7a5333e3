package relay

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestStrangersGetFewAnswers(t *testing.T) {
	now := time.Now()
	l := newLimiter(func() time.Time { return now })
	answers := func(address string) (n int) {
		addr := netip.MustParseAddrPort(address).Addr()
		for range 1000 {
			if l.take(addr) {
				n++
			}
		}
		return n
	}
	if n := answers("198.51.100.7:53"); n != answerBurst {
		t.Errorf("1000 requests of one address got %d answers", n)
	}
	if n := answers("[::ffff:198.51.100.7]:99"); n != 0 {
		t.Errorf("the same address in another notation got %d more", n)
	}
	if n := answers("[2001:db8::1]:53") + answers("[2001:db8::2]:53"); n != answerBurst {
		t.Errorf("two addresses of one /64 got %d answers", n)
	}
	now = now.Add(time.Second)
	if n := answers("198.51.100.7:53"); n != answerRate {
		t.Errorf("a second later %d answers", n)
	}
}

func TestOnlyAnswersToStrangersAreLimited(t *testing.T) {
	for kind, want := range map[uint16]bool{
		0x0101: true,  // Binding success
		0x0111: true,  // Binding error
		0x0113: true,  // Allocate error
		0x0118: true,  // CreatePermission error
		0x0103: false, // Allocate success
		0x0017: false, // Data indication
		0x4000: false, // channel data
		0x4111: false, // channel data
	} {
		if got := unauthenticated(binary.BigEndian.AppendUint16(nil, kind)); got != want {
			t.Errorf("%04x: %t, want %t", kind, got, want)
		}
	}
}
