package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// TestATCPClientSendsAndReceivesInBulk keeps one allocation over TCP busy both
// ways with packets of every length that QUIC may have: whatever is lost at a
// full socket, what arrives is whole, and the connection stays.
func TestATCPClientSendsAndReceivesInBulk(t *testing.T) {
	const packets, longest = 4000, 1452
	r := start(t, nil)
	one, _ := client(t, r, "tcp", r.Issue(peer(1)))
	two, _ := client(t, r, "udp", r.Issue(peer(2)))
	a, b := allocate(t, one), allocate(t, two)
	for conn, to := range map[net.PacketConn]net.Addr{a: b.LocalAddr(), b: a.LocalAddr()} {
		if _, err := conn.WriteTo([]byte("permit"), to); err != nil {
			t.Fatal(err)
		}
	}
	var joined sync.WaitGroup
	for conn, to := range map[net.PacketConn]net.Addr{a: b.LocalAddr(), b: a.LocalAddr()} {
		joined.Go(func() {
			for n := range packets {
				p := make([]byte, 8+rand.IntN(longest-8))
				binary.BigEndian.PutUint64(p, uint64(len(p)))
				for i := 8; i < len(p); i++ {
					p[i] = byte(len(p))
				}
				if _, err := conn.WriteTo(p, to); err != nil {
					t.Errorf("packet %d: %v", n, err)
					return
				}
			}
		})
		joined.Go(func() {
			buf, got := make([]byte, 2048), 0
			for {
				conn.SetReadDeadline(time.Now().Add(time.Second))
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					break // nothing more comes
				}
				if n >= 8 && (binary.BigEndian.Uint64(buf) != uint64(n) || n > 8 && buf[n-1] != byte(n)) {
					t.Errorf("a packet of %d bytes is not whole", n)
				}
				got++
			}
			if got < packets/20 {
				t.Errorf("%d of %d packets arrived", got, packets)
			}
		})
	}
	joined.Wait()
	if _, err := a.WriteTo([]byte("still here"), b.LocalAddr()); err != nil {
		t.Errorf("after that: %v", err)
	}
}
