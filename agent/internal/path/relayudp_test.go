package path

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun"
)

// line is a socket in memory: it counts what is written, and reads what in says.
type line struct {
	net.PacketConn
	sent atomic.Int32
	in   chan []byte
}

func (l *line) WriteTo(b []byte, _ net.Addr) (int, error) {
	l.sent.Add(1)
	return len(b), nil
}

func (l *line) ReadFrom(b []byte) (int, net.Addr, error) { return copy(b, <-l.in), nil, nil }

func (l *line) Close() error { return nil }

func TestRequestsToARelayAreRepeatedUntilAnswered(t *testing.T) {
	build := func(class stun.MessageClass, id [stun.TransactionIDSize]byte) []byte {
		return stun.MustBuild(stun.NewType(stun.MethodCreatePermission, class), stun.NewTransactionIDSetter(id)).Raw
	}
	start := func() (*udpToRelay, *line) {
		l := &line{in: make(chan []byte, 1)}
		return &udpToRelay{PacketConn: l, asked: make(map[transaction]*time.Timer)}, l
	}
	to := &net.UDPAddr{IP: net.IPv4(198, 51, 100, 10), Port: 3478}
	write := func(t *testing.T, u *udpToRelay, b []byte) {
		t.Helper()
		if _, err := u.WriteTo(b, to); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(t *testing.T, u *udpToRelay, l *line, b []byte) {
		t.Helper()
		l.in <- b
		if _, _, err := u.ReadFrom(make([]byte, maxSTUN)); err != nil {
			t.Fatal(err)
		}
	}
	one, two := transaction{1}, transaction{2}
	for name, c := range map[string]struct {
		play func(t *testing.T, u *udpToRelay, l *line)
		want int32 // datagrams to the server
	}{
		"answered in time": {func(t *testing.T, u *udpToRelay, l *line) {
			write(t, u, build(stun.ClassRequest, one))
			hear(t, u, l, build(stun.ClassSuccessResponse, one))
		}, 1},
		"answered after a while": {func(t *testing.T, u *udpToRelay, l *line) {
			write(t, u, build(stun.ClassRequest, one))
			<-time.After(againEvery*2 + againEvery/2)
			hear(t, u, l, build(stun.ClassErrorResponse, one))
		}, 3},
		"another one answered": {func(t *testing.T, u *udpToRelay, l *line) {
			write(t, u, build(stun.ClassRequest, one))
			hear(t, u, l, build(stun.ClassSuccessResponse, two))
		}, 1 + againMost},
		"never answered, and asked by the library too": {func(t *testing.T, u *udpToRelay, l *line) {
			write(t, u, build(stun.ClassRequest, one))
			write(t, u, build(stun.ClassRequest, one))
		}, 2 + againMost},
		"closed":     {func(t *testing.T, u *udpToRelay, _ *line) { write(t, u, build(stun.ClassRequest, one)); u.Close() }, 1},
		"no request": {func(t *testing.T, u *udpToRelay, _ *line) { write(t, u, build(stun.ClassIndication, one)) }, 1},
		"channel data": {func(t *testing.T, u *udpToRelay, _ *line) {
			write(t, u, append([]byte{0x40, 0}, build(stun.ClassRequest, one)[2:]...))
		}, 1},
		"asked too much": {func(t *testing.T, u *udpToRelay, _ *line) {
			for i := range byte(againAsked + 10) {
				write(t, u, build(stun.ClassRequest, transaction{i}))
			}
		}, againAsked + 10 + againAsked*againMost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, l := start()
				c.play(t, u, l)
				<-time.After(time.Hour)
				synctest.Wait()
				if n := l.sent.Load(); n != c.want {
					t.Errorf("%d datagrams, want %d", n, c.want)
				}
				if len(u.asked) != 0 {
					t.Errorf("%d requests are not forgotten", len(u.asked))
				}
			})
		})
	}
}
