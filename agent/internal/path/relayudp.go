package path

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/pion/stun"
)

// Requests to a TURN server over UDP are repeated. The TURN library repeats them
// too, but late: after 0.2, 0.6, 1.4, 3 and 4.6 s. A few lost packets would cost
// seconds. While the library waits for a permission, the ICE agent checks no pair,
// not even a direct one.
const (
	repeatInterval = 100 * time.Millisecond
	maxRepeats     = 15 // of one request; afterwards only the library repeats it
	maxRepeated    = 64 // requests at a time; further ones are not repeated
)

// turnConn is a UDP socket to one TURN server. It repeats requests that have no
// response yet.
type turnConn struct {
	net.PacketConn

	mu       sync.Mutex // guards the fields below
	to       string     // the server's address, set by the first write
	closed   bool
	requests map[transaction]*time.Timer // without a response; the timers repeat them
}

func newTurnConn(c net.PacketConn) *turnConn {
	return &turnConn{PacketConn: c, requests: make(map[transaction]*time.Timer)}
}

// WriteTo sends a packet to the server.
func (u *turnConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u.mu.Lock()
	if u.to == "" {
		u.to = to.String()
	}
	if isRequest(b) && b[0]>>6 == 0 { // otherwise it is ChannelData
		u.repeat(append([]byte(nil), b...), to)
	}
	u.mu.Unlock()
	return u.PacketConn.WriteTo(b, to)
}

// repeat begins to repeat a request, unless it is repeated already. mu must be
// held.
func (u *turnConn) repeat(b []byte, to net.Addr) {
	id := transaction(b[8 : 8+stun.TransactionIDSize])
	if u.requests[id] != nil || len(u.requests) >= maxRepeated || u.closed {
		return
	}
	times := 0
	u.requests[id] = time.AfterFunc(repeatInterval, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		t := u.requests[id]
		if t == nil {
			return
		}
		if times++; times > maxRepeats {
			delete(u.requests, id)
			return
		}
		_, _ = u.PacketConn.WriteTo(b, to) // a failure counts as a lost packet
		t.Reset(repeatInterval)
	})
}

// ReadFrom reads a packet of the server.
func (u *turnConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := u.PacketConn.ReadFrom(b)
	if err == nil && isResponse(b[:n]) {
		u.mu.Lock()
		u.forget(transaction(b[8 : 8+stun.TransactionIDSize]))
		u.mu.Unlock()
	}
	return n, from, err
}

// forget stops repeating a request. mu must be held.
func (u *turnConn) forget(id transaction) {
	if t := u.requests[id]; t != nil {
		t.Stop()
		delete(u.requests, id)
	}
}

func isResponse(b []byte) bool {
	const responseBit = 0x0100 // success or error response (RFC 8489 section 5)
	return stun.IsMessage(b) && binary.BigEndian.Uint16(b)&responseBit != 0
}

// Close closes the socket.
func (u *turnConn) Close() error {
	u.mu.Lock()
	u.closed = true
	for id := range u.requests {
		u.forget(id)
	}
	u.mu.Unlock()
	return u.PacketConn.Close()
}

func (u *turnConn) server() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.to
}
