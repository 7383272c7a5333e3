package path

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/pion/stun"
)

// How a TURN server is asked again over UDP. The library asks again by itself,
// but so late, after 0.2, 0.6, 1.4, 3 and 4.6 s, that a few lost packets cost
// seconds; and while it waits for a permission the agent checks no pair at all,
// not even direct ones.
const (
	againEvery = 100 * time.Millisecond
	againMost  = 15 // times; from then on as the library does
	againAsked = 64 // requests at once; more are not repeated
)

// udpToRelay is a UDP socket to one TURN server. It remembers which, and
// repeats requests that are not answered soon.
type udpToRelay struct {
	net.PacketConn

	mu     sync.Mutex // guards the rest
	to     string
	closed bool
	asked  map[transaction]*time.Timer
}

// WriteTo sends to the server.
func (u *udpToRelay) WriteTo(b []byte, to net.Addr) (int, error) {
	u.mu.Lock()
	if u.to == "" {
		u.to = to.String()
	}
	if isRequest(b) && b[0]>>6 == 0 { // else it is data on a channel
		u.ask(append([]byte(nil), b...), to)
	}
	u.mu.Unlock()
	return u.PacketConn.WriteTo(b, to)
}

// ask begins to repeat a request, unless that is done already. The caller holds
// mu.
func (u *udpToRelay) ask(b []byte, to net.Addr) {
	id := transaction(b[8 : 8+stun.TransactionIDSize])
	if u.asked[id] != nil || len(u.asked) >= againAsked || u.closed {
		return
	}
	times := 0
	u.asked[id] = time.AfterFunc(againEvery, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		t := u.asked[id]
		if t == nil {
			return
		}
		if times++; times > againMost {
			delete(u.asked, id)
			return
		}
		_, _ = u.PacketConn.WriteTo(b, to) // a failure is as good as a lost packet
		t.Reset(againEvery)
	})
}

// ReadFrom reads what the server says.
func (u *udpToRelay) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := u.PacketConn.ReadFrom(b)
	if err == nil && isAnswer(b[:n]) {
		u.mu.Lock()
		u.forget(transaction(b[8 : 8+stun.TransactionIDSize]))
		u.mu.Unlock()
	}
	return n, from, err
}

// forget ends the repetition of a request. The caller holds mu.
func (u *udpToRelay) forget(id transaction) {
	if t := u.asked[id]; t != nil {
		t.Stop()
		delete(u.asked, id)
	}
}

func isAnswer(b []byte) bool {
	const answered = 0x0100 // RFC 8489 section 5: success or error
	return stun.IsMessage(b) && binary.BigEndian.Uint16(b)&answered != 0
}

// Close closes the socket.
func (u *udpToRelay) Close() error {
	u.mu.Lock()
	u.closed = true
	for id := range u.asked {
		u.forget(id)
	}
	u.mu.Unlock()
	return u.PacketConn.Close()
}

func (u *udpToRelay) server() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.to
}
