package policy

import (
	"net/netip"
	"testing"
	"time"
)

func TestStrangersGetFewAnswers(t *testing.T) {
	now := time.Now()
	l := NewAnswerLimit(func() time.Time { return now }, netip.Addr.IsLoopback)
	answers := func(address string) (n int) {
		for range 1000 {
			if l.Take(netip.MustParseAddr(address)) {
				n++
			}
		}
		return n
	}
	if n := answers("198.51.100.7"); n != AnswerBurst {
		t.Errorf("1000 requests of one address got %d answers, want %d", n, AnswerBurst)
	}
	if n := answers("::ffff:198.51.100.7"); n != 0 {
		t.Errorf("the same address in another notation got %d more", n)
	}
	if n := answers("2001:db8::1") + answers("2001:db8::2"); n != AnswerBurst {
		t.Errorf("two addresses of one /64 got %d answers, want %d", n, AnswerBurst)
	}
	if n := l.Withheld(); n != 4000-2*AnswerBurst {
		t.Errorf("%d withheld answers are counted, want %d", n, 4000-2*AnswerBurst)
	}
	if n := answers("127.0.0.1"); n != 1000 {
		t.Errorf("loopback got %d of 1000 answers", n)
	}
	now = now.Add(time.Second)
	if n := answers("198.51.100.7"); n != AnswersPerSecond {
		t.Errorf("a second later %d answers, want %d", n, AnswersPerSecond)
	}
}
