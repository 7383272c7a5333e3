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

// turnMessage returns a TURN message of a class.
func turnMessage(class stun.MessageClass, id transaction) []byte {
	return stun.MustBuild(stun.NewType(stun.MethodCreatePermission, class), stun.NewTransactionIDSetter(id)).Raw
}

// sendToRelay writes a packet to the TURN server.
func sendToRelay(t *testing.T, u *turnConn, b []byte) {
	t.Helper()
	if _, err := u.WriteTo(b, &net.UDPAddr{IP: net.IPv4(198, 51, 100, 10), Port: 3478}); err != nil {
		t.Fatal(err)
	}
}

// receiveFromRelay reads the packet b, which the TURN server sends.
func receiveFromRelay(t *testing.T, u *turnConn, l *memorySocket, b []byte) {
	t.Helper()
	l.in <- b
	if _, _, err := u.ReadFrom(make([]byte, maxSTUN)); err != nil {
		t.Fatal(err)
	}
}

func TestRequestsToRelayAreRepeatedUntilResponse(t *testing.T) {
	one, two := transaction{1}, transaction{2}
	for name, c := range map[string]struct {
		play func(t *testing.T, u *turnConn, l *memorySocket)
		want int32 // packets to the server
	}{
		"response in time": {func(t *testing.T, u *turnConn, l *memorySocket) {
			sendToRelay(t, u, turnMessage(stun.ClassRequest, one))
			receiveFromRelay(t, u, l, turnMessage(stun.ClassSuccessResponse, one))
		}, 1},
		"late response": {func(t *testing.T, u *turnConn, l *memorySocket) {
			sendToRelay(t, u, turnMessage(stun.ClassRequest, one))
			time.Sleep(repeatInterval*2 + repeatInterval/2)
			receiveFromRelay(t, u, l, turnMessage(stun.ClassErrorResponse, one))
		}, 3},
		"response to another request": {func(t *testing.T, u *turnConn, l *memorySocket) {
			sendToRelay(t, u, turnMessage(stun.ClassRequest, one))
			receiveFromRelay(t, u, l, turnMessage(stun.ClassSuccessResponse, two))
		}, 1 + maxRepeats},
		"no response, and repeated by the library too": {func(t *testing.T, u *turnConn, l *memorySocket) {
			sendToRelay(t, u, turnMessage(stun.ClassRequest, one))
			sendToRelay(t, u, turnMessage(stun.ClassRequest, one))
		}, 2 + maxRepeats},
		"closed": {func(t *testing.T, u *turnConn, _ *memorySocket) {
			sendToRelay(t, u, turnMessage(stun.ClassRequest, one))
			u.Close()
		}, 1},
		"indication": {func(t *testing.T, u *turnConn, _ *memorySocket) {
			sendToRelay(t, u, turnMessage(stun.ClassIndication, one))
		}, 1},
		"channel data": {func(t *testing.T, u *turnConn, _ *memorySocket) {
			sendToRelay(t, u, append([]byte{0x40, 0}, turnMessage(stun.ClassRequest, one)[2:]...))
		}, 1},
		"more requests than are repeated": {func(t *testing.T, u *turnConn, _ *memorySocket) {
			for i := range byte(maxRepeated + 10) {
				sendToRelay(t, u, turnMessage(stun.ClassRequest, transaction{i}))
			}
		}, maxRepeated + 10 + maxRepeated*maxRepeats},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &memorySocket{in: make(chan []byte, 1)}
				u := newTurnConn(l)
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
