package datagrams

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, network, address string) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP(network, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadBuffer(4 << 20)
	return conn, unmapped(conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

func writer(t *testing.T, conn *net.UDPConn) *Writer {
	t.Helper()
	s, err := NewSocket(conn)
	if err != nil {
		t.Fatal(err)
	}
	return s.NewWriter()
}

func reader(t *testing.T, conn *net.UDPConn) *Reader {
	t.Helper()
	r, err := NewReader(conn)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// next returns the next datagram. It fails the test if none arrives.
func next(t *testing.T, r *Reader, conn *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(waittest.Timeout))
	p, from, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	return p, from
}

// sends writes batches of random sizes to several addresses, and checks that all datagrams arrive whole and in order.
func sends(t *testing.T, conn *net.UDPConn, to []*net.UDPConn, length func() int) {
	t.Helper()
	w := writer(t, conn)
	var readers []*Reader
	var addresses []netip.AddrPort
	for _, c := range to {
		readers = append(readers, reader(t, c))
		addresses = append(addresses, unmapped(c.LocalAddr().(*net.UDPAddr).AddrPort()))
	}
	for round := range 50 {
		sent := make([][][]byte, len(to))
		for range 1 + rand.IntN(2*MaxBatch) {
			which := rand.IntN(len(to))
			p := make([]byte, length())
			for i := range p {
				p[i] = byte(rand.Uint32())
			}
			sent[which] = append(sent[which], p)
			if err := w.Add(nil, p, addresses[which]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if n := w.Pending(); n != 0 {
			t.Fatalf("%d datagrams are pending after Flush", n)
		}
		for which, all := range sent {
			for n, want := range all {
				got, _ := next(t, readers[which], to[which])
				if !bytes.Equal(got, want) {
					t.Fatalf("round %d, datagram %d to address %d: got %x, want %x", round, n, which, got, want)
				}
			}
			if n := readers[which].Buffered(); n != 0 {
				t.Fatalf("%d more datagrams arrived", n)
			}
		}
	}
}

func lengths(choices ...int) func() int {
	return func() int { return choices[rand.IntN(len(choices))] }
}

func TestDatagramsArriveWholeAndInOrder(t *testing.T) {
	for name, length := range map[string]func() int{
		"one length":     lengths(1200),
		"two lengths":    lengths(1200, 1200, 1200, 300),
		"the longest":    lengths(MaxSize),
		"some are empty": lengths(0, 0, 100),
		"all are empty":  lengths(0),
		"one byte":       lengths(1),
		"random lengths": func() int { return rand.IntN(MaxSize + 1) },
	} {
		t.Run(name, func(t *testing.T) {
			from, _ := listen(t, "udp4", "127.0.0.1:0")
			var to []*net.UDPConn
			for range 3 {
				c, _ := listen(t, "udp4", "127.0.0.1:0")
				to = append(to, c)
			}
			sends(t, from, to, length)
		})
	}
}

func TestDualStackSocketReachesBothFamilies(t *testing.T) {
	from, _ := listen(t, "udp", ":0")
	four, _ := listen(t, "udp4", "127.0.0.1:0")
	six, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	t.Cleanup(func() { six.Close() })
	sends(t, from, []*net.UDPConn{four, six}, lengths(100, 200))
}

func TestReaderReturnsTheSender(t *testing.T) {
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "udp": ":0"} {
		to, at := listen(t, network, address)
		from, want := listen(t, "udp4", "127.0.0.1:0")
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
		if _, err := from.WriteToUDPAddrPort([]byte("hello"), at); err != nil {
			t.Fatal(err)
		}
		if p, got := next(t, reader(t, to), to); string(p) != "hello" || got != want {
			t.Errorf("%s: %q from %s, want hello from %s", network, p, got, want)
		}
	}
}

func TestBadDatagramDoesNotAffectOthers(t *testing.T) {
	from, _ := listen(t, "udp4", "127.0.0.1:0")
	to, at := listen(t, "udp4", "127.0.0.1:0")
	w, r := writer(t, from), reader(t, to)
	for n, bad := range []netip.AddrPort{
		netip.MustParseAddrPort("[2001:db8::1]:9"),
		{},
		netip.MustParseAddrPort("255.255.255.255:9"), netip.MustParseAddrPort("127.0.0.1:0"),
	} {
		for _, address := range []netip.AddrPort{bad, at, bad, bad, at} {
			if err := w.Add(nil, binary.BigEndian.AppendUint16(nil, uint16(n)), address); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Add(nil, make([]byte, MaxSize+1), at); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if p, _ := next(t, r, to); len(p) != 2 || binary.BigEndian.Uint16(p) != uint16(n) {
				t.Errorf("to %s and a good address: got %x", bad, p)
			}
		}
	}
}

func TestCloseEndsReadingAndWriting(t *testing.T) {
	conn, at := listen(t, "udp4", "127.0.0.1:0")
	r, w := reader(t, conn), writer(t, conn)
	ended := make(chan error, 1)
	go func() {
		_, _, err := r.Next()
		ended <- err
	}()
	conn.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next: %v", err)
	}
	err := w.Add(nil, []byte("x"), at)
	if err == nil {
		err = w.Flush()
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Flush: %v", err)
	}
}

func BenchmarkWriteAndRead(b *testing.B) {
	from, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer to.Close()
	s, err := NewSocket(from)
	if err != nil {
		b.Fatal(err)
	}
	r, err := NewReader(to)
	if err != nil {
		b.Fatal(err)
	}
	w, at, p := s.NewWriter(), to.LocalAddr().(*net.UDPAddr).AddrPort(), make([]byte, 1200)
	b.ReportAllocs()
	for b.Loop() {
		for range 16 {
			if err := w.Add(nil, p, at); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
		for range 16 {
			if _, _, err := r.Next(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
