package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

// TestTCPClientSendsAndReceivesInBulk keeps an allocation over TCP busy both ways with packets of every length that
// QUIC may have. All packets must arrive whole. A sender waits after each burst, which fits into any socket buffer,
// so that none is lost.
func TestTCPClientSendsAndReceivesInBulk(t *testing.T) {
	const packets, burst, longest = 4000, 40, 1452
	r := start(t, nil)
	one, _ := client(t, r, "tcp", r.Issue(peer(1)))
	two, _ := client(t, r, "udp", r.Issue(peer(2)))
	a, b := allocate(t, one), allocate(t, two)
	for conn, to := range map[net.PacketConn]net.Addr{a: b.LocalAddr(), b: a.LocalAddr()} {
		if _, err := conn.WriteTo([]byte("permit"), to); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for _, way := range []struct{ from, to net.PacketConn }{{a, b}, {b, a}} {
		var arrived atomic.Int64
		all.Go(func() {
			buf := make([]byte, 2048)
			for arrived.Load() < packets {
				n, _, err := way.to.ReadFrom(buf)
				if err != nil {
					t.Errorf("after %d packets: %v", arrived.Load(), err)
					return
				}
				if n < 8 || string(buf[:n]) == "permit" {
					continue
				}
				if binary.BigEndian.Uint64(buf) != uint64(n) || n > 8 && buf[n-1] != byte(n) {
					t.Errorf("a packet of %d bytes is not whole", n)
				}
				arrived.Add(1)
			}
		})
		all.Go(func() {
			for sent := range int64(packets) {
				p := make([]byte, 8+rand.IntN(longest-8))
				binary.BigEndian.PutUint64(p, uint64(len(p)))
				for i := 8; i < len(p); i++ {
					p[i] = byte(len(p))
				}
				if _, err := way.from.WriteTo(p, way.to.LocalAddr()); err != nil {
					t.Errorf("packet %d: %v", sent, err)
					return
				}
				if sent%burst == burst-1 && !waittest.Eventually(func() bool { return arrived.Load() > sent }) {
					t.Errorf("%d of %d packets arrived", arrived.Load(), sent+1)
					way.to.Close()
					return
				}
			}
		})
	}
	all.Wait()
}
