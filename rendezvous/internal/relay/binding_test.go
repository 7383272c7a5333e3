package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

// startTwice runs a relay at two addresses.
func startTwice(t *testing.T, inside func(*Relay)) *Relay {
	t.Helper()
	second := netip.MustParseAddr("127.0.0.2")
	sockets, err := Listen("127.0.0.1:0", second)
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, sockets, func(c *Config) { c.Alternate = second }, inside)
}

// plainAddress reads an address that is as it is.
func plainAddress(m message, attr uint16) netip.AddrPort {
	v := m.find(attr)
	if len(v) != fourLength {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(v[4:])), binary.BigEndian.Uint16(v[2:]))
}

// TestNATBehaviourDiscovery asks each of the four sockets for each change.
func TestNATBehaviourDiscovery(t *testing.T) {
	r := startTwice(t, nil)
	d := r.discovery
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 2048)
	for _, at := range []place{{0, 0}, {0, 1}, {1, 0}, {1, 1}} {
		for flags, from := range map[uint32]place{
			0: at, changeIP: {1 - at.ip, at.port}, changePort: {at.ip, 1 - at.port}, changeIP | changePort: at.other(),
		} {
			m := begin(bindingRequest)
			if flags != 0 {
				m = m.add(attrChangeRequest, binary.BigEndian.AppendUint32(nil, flags))
			}
			if _, err := conn.WriteToUDPAddrPort(m, d.at(at)); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(patience))
			n, came, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatalf("asked %v for %d: %v", at, flags, err)
			}
			answer := message(buf[:n])
			if !wellFormed(answer) || answer.kind() != bindingSuccess || string(answer[8:stunHeader]) != string(m[8:stunHeader]) {
				t.Fatalf("asked %v for %d: %x", at, flags, buf[:n])
			}
			if came != d.at(from) || plainAddress(answer, attrResponseOrigin) != d.at(from) || plainAddress(answer, attrOtherAddress) != d.at(at.other()) {
				t.Errorf("asked %v for %d: from %s, which says it is %s and the other is %s", at, flags, came,
					plainAddress(answer, attrResponseOrigin), plainAddress(answer, attrOtherAddress))
			}
			if mapped := xorAddress(t, answer, attrXORMapped); mapped != conn.LocalAddr().(*net.UDPAddr).AddrPort() {
				t.Errorf("the client is %s, it says", mapped)
			}
		}
	}
}

func TestTheAnswerGoesToAnotherPortIfAsked(t *testing.T) {
	r := startTwice(t, nil)
	asks, gets := newRaw(t, r, "udp", Credentials{}), newRaw(t, r, "udp", Credentials{})
	port := gets.conn.LocalAddr().(*net.UDPAddr).Port
	asks.write(begin(bindingRequest).add(attrResponsePort, append(binary.BigEndian.AppendUint16(nil, uint16(port)), 0, 0)))
	answer := gets.read(patience)
	if answer == nil || xorAddress(t, answer, attrXORMapped).Port() != uint16(asks.conn.LocalAddr().(*net.UDPAddr).Port) {
		t.Errorf("got %x", []byte(answer))
	}
}

func TestUnknownWishesAreRefused(t *testing.T) {
	one, two := start(t, nil), startTwice(t, nil)
	for name, c := range map[string]struct {
		r    *Relay
		attr uint16
		code int
	}{
		"another address of a server with one": {one, attrChangeRequest, 420},
		"another port of a server with one":    {one, attrResponsePort, 420},
		"padding of a server with one":         {one, attrPadding, 420},
		"what may be ignored":                  {two, 0x8022, 0},
		"ICE's priority":                       {one, 0x0024, 0},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if c.r == two && network == "tcp" {
				continue // is over UDP
			}
			answer := newRaw(t, c.r, network, Credentials{}).exchange(begin(bindingRequest).add(c.attr, make([]byte, 4)))
			if code(answer) != c.code {
				t.Errorf("%s over %s: %d, want %d", name, network, code(answer), c.code)
			}
		}
	}
}

func TestAnAnswerIsPaddedToItsRequest(t *testing.T) {
	r := startTwice(t, nil)
	for _, n := range []int{0, 1, 40, 1500} {
		request := begin(bindingRequest).add(attrPadding, make([]byte, n)).addFingerprint()
		answer := newRaw(t, r, "udp", Credentials{}).exchange(request)
		if answer.kind() != bindingSuccess || n > 100 && len(answer) != len(request) || n <= 100 && len(answer) > 80 {
			t.Errorf("a request of %d bytes is answered by %d: %x", len(request), len(answer), []byte(answer))
		}
	}
}

// TestAForgedSourceGetsFewAnswersFromAllAddresses: all four sockets together
// answer no more often than one.
func TestAForgedSourceGetsFewAnswersFromAllAddresses(t *testing.T) {
	at := newClock()
	r := startTwice(t, func(r *Relay) {
		r.answers.trusted, r.answers.now = func(netip.Addr) bool { return false }, at.now
	})
	victim, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	for n := range 400 {
		at := place{n / 2 % 2, n % 2}
		m := begin(bindingRequest).add(attrChangeRequest, binary.BigEndian.AppendUint32(nil, uint32(n%4)<<1))
		if _, err := victim.WriteToUDPAddrPort(m, r.discovery.at(at)); err != nil {
			t.Fatal(err)
		}
	}
	buf, answers := make([]byte, 2048), 0
	waittest.Until(t, "every request was answered or not", func() bool {
		for {
			victim.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := victim.Read(buf); err != nil {
				break
			}
			answers++
		}
		return answers+int(r.Usage().Unanswered) == 400
	})
	if answers != answerBurst {
		t.Errorf("%d answers, want %d", answers, answerBurst)
	}
}

func TestListenWantsBothAddresses(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::1]:0", "localhost:0", "127.0.0.2:0"} {
		if s, err := Listen(address, netip.MustParseAddr("127.0.0.2")); err == nil {
			s.Close()
			t.Errorf("%s is taken for the first address", address)
		}
	}
	if s, err := Listen("127.0.0.1:0", netip.MustParseAddr("192.0.2.1")); err == nil {
		s.Close()
		t.Error("an address that is none of this machine's is taken for the second")
	}
}
