package path

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun"
)

// memorySocket counts the packets that are written, and reads packets from in.
type memorySocket struct {
	net.PacketConn
	sent atomic.Int32
	in   chan []byte
}

func (l *memorySocket) WriteTo(b []byte, _ net.Addr) (int, error) {
	l.sent.Add(1)
	return len(b), nil
}

func (l *memorySocket) ReadFrom(b []byte) (int, net.Addr, error) { return copy(b, <-l.in), nil, nil }

func (l *memorySocket) Close() error { return nil }

func TestRequestsToRelayAreRepeatedUntilResponse(t *testing.T) {
	build := func(class stun.MessageClass, id [stun.TransactionIDSize]byte) []byte {
		return stun.MustBuild(stun.NewType(stun.MethodCreatePermission, class), stun.NewTransactionIDSetter(id)).Raw
	}
	start := func() (*turnConn, *memorySocket) {
		l := &memorySocket{in: make(chan []byte, 1)}
		return newTurnConn(l), l
	}
	to := &net.UDPAddr{IP: net.IPv4(198, 51, 100, 10), Port: 3478}
	write := func(t *testing.T, u *turnConn, b []byte) {
		t.Helper()
		if _, err := u.WriteTo(b, to); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(t *testing.T, u *turnConn, l *memorySocket, b []byte) {
		t.Helper()
		l.in <- b
		if _, _, err := u.ReadFrom(make([]byte, maxSTUN)); err != nil {
			t.Fatal(err)
		}
	}
	one, two := transaction{1}, transaction{2}
	for name, c := range map[string]struct {
		play func(t *testing.T, u *turnConn, l *memorySocket)
		want int32 // packets to the server
	}{
		"response in time": {func(t *testing.T, u *turnConn, l *memorySocket) {
			write(t, u, build(stun.ClassRequest, one))
			receive(t, u, l, build(stun.ClassSuccessResponse, one))
		}, 1},
		"late response": {func(t *testing.T, u *turnConn, l *memorySocket) {
			write(t, u, build(stun.ClassRequest, one))
			time.Sleep(repeatInterval*2 + repeatInterval/2)
			receive(t, u, l, build(stun.ClassErrorResponse, one))
		}, 3},
		"response to another request": {func(t *testing.T, u *turnConn, l *memorySocket) {
			write(t, u, build(stun.ClassRequest, one))
			receive(t, u, l, build(stun.ClassSuccessResponse, two))
		}, 1 + maxRepeats},
		"no response, and repeated by the library too": {func(t *testing.T, u *turnConn, l *memorySocket) {
			write(t, u, build(stun.ClassRequest, one))
			write(t, u, build(stun.ClassRequest, one))
		}, 2 + maxRepeats},
		"closed": {func(t *testing.T, u *turnConn, _ *memorySocket) {
			write(t, u, build(stun.ClassRequest, one))
			u.Close()
		}, 1},
		"indication": {func(t *testing.T, u *turnConn, _ *memorySocket) {
			write(t, u, build(stun.ClassIndication, one))
		}, 1},
		"channel data": {func(t *testing.T, u *turnConn, _ *memorySocket) {
			write(t, u, append([]byte{0x40, 0}, build(stun.ClassRequest, one)[2:]...))
		}, 1},
		"more requests than are repeated": {func(t *testing.T, u *turnConn, _ *memorySocket) {
			for i := range byte(maxRepeated + 10) {
				write(t, u, build(stun.ClassRequest, transaction{i}))
			}
		}, maxRepeated + 10 + maxRepeated*maxRepeats},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, l := start()
				c.play(t, u, l)
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := l.sent.Load(); n != c.want {
					t.Errorf("%d packets, want %d", n, c.want)
				}
				if len(u.requests) != 0 {
					t.Errorf("%d requests are still stored", len(u.requests))
				}
			})
		})
	}
}
