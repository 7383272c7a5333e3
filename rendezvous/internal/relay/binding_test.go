package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/policy"
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

// readPlainAddress returns the IPv4 address in an attribute, or the zero AddrPort.
func readPlainAddress(m *stun.Message, attr stun.AttrType) netip.AddrPort {
	v := value(m, attr)
	if len(v) != fourLength {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(v[4:])), binary.BigEndian.Uint16(v[2:]))
}

// changeRequest returns a CHANGE-REQUEST attribute.
func changeRequest(flags uint32) stun.Setter {
	return attribute(stun.AttrChangeRequest, binary.BigEndian.AppendUint32(nil, flags))
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
			0: at, changeIP: {1 - at.ip, at.port}, changePort: {at.ip, 1 - at.port},
			changeIP | changePort: at.opposite(),
		} {
			request := message(stun.BindingRequest)
			if flags != 0 {
				add(request, changeRequest(flags))
			}
			if _, err := conn.WriteToUDPAddrPort(request.Raw, d.at(at)); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(waittest.Timeout))
			n, sender, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatalf("flags %d to %v: %v", flags, at, err)
			}
			answer := &stun.Message{}
			if !decode(answer, buf[:n]) || answer.Type != stun.BindingSuccess ||
				answer.TransactionID != request.TransactionID {
				t.Fatalf("flags %d to %v: %x", flags, at, buf[:n])
			}
			origin := readPlainAddress(answer, stun.AttrResponseOrigin)
			other := readPlainAddress(answer, stun.AttrOtherAddress)
			if sender != d.at(from) || origin != d.at(from) || other != d.at(at.opposite()) {
				t.Errorf("flags %d to %v: answered from %s with origin %s and other address %s",
					flags, at, sender, origin, other)
			}
			mapped := readXORAddress(answer, stun.AttrXORMappedAddress)
			if mapped != conn.LocalAddr().(*net.UDPAddr).AddrPort() {
				t.Errorf("the answer says that the client is %s", mapped)
			}
		}
	}
}

func TestAnswerGoesToTheResponsePort(t *testing.T) {
	r := startTwice(t, nil)
	sender, receiver := newRaw(t, r, "udp", Credentials{}), newRaw(t, r, "udp", Credentials{})
	port := receiver.conn.LocalAddr().(*net.UDPAddr).Port
	responsePort := append(binary.BigEndian.AppendUint16(nil, uint16(port)), 0, 0)
	sender.write(message(stun.BindingRequest, attribute(stun.AttrResponsePort, responsePort)).Raw)
	answer := &stun.Message{}
	want := uint16(sender.conn.LocalAddr().(*net.UDPAddr).Port)
	if !decode(answer, receiver.read()) || readXORAddress(answer, stun.AttrXORMappedAddress).Port() != want {
		t.Errorf("got %s, want an answer that names port %d", answer, want)
	}
}

func TestUnknownAttributesAreRefused(t *testing.T) {
	one, two := start(t, nil), startTwice(t, nil)
	for name, c := range map[string]struct {
		r    *Relay
		attr stun.AttrType
		code stun.ErrorCode
	}{
		"another address of a server with one": {one, stun.AttrChangeRequest, stun.CodeUnknownAttribute},
		"another port of a server with one":    {one, stun.AttrResponsePort, stun.CodeUnknownAttribute},
		"padding of a server with one":         {one, stun.AttrPadding, stun.CodeUnknownAttribute},
		"an optional attribute":                {two, stun.AttrSoftware, 0},
		"the priority of ICE":                  {one, stun.AttrPriority, 0},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if c.r == two && network == "tcp" {
				continue // discovery is over UDP only
			}
			request := message(stun.BindingRequest, attribute(c.attr, make([]byte, 4)))
			answer := newRaw(t, c.r, network, Credentials{}).exchange(request)
			if code(answer) != c.code {
				t.Errorf("%s over %s: %d, want %d", name, network, code(answer), c.code)
			}
			named := value(answer, stun.AttrUnknownAttributes)
			if c.code != 0 && (len(named) != 2 || binary.BigEndian.Uint16(named) != uint16(c.attr)) {
				t.Errorf("%s over %s: the answer names the unknown attributes %x", name, network, named)
			}
		}
	}
}

func TestAnswerIsPaddedToItsRequest(t *testing.T) {
	r := startTwice(t, nil)
	for _, n := range []int{0, 1, 40, 1500} {
		request := message(stun.BindingRequest, attribute(stun.AttrPadding, make([]byte, n)), stun.Fingerprint)
		answer := newRaw(t, r, "udp", Credentials{}).exchange(request)
		got, want := len(answer.Raw), len(request.Raw)
		if answer.Type != stun.BindingSuccess || n > 100 && got != want || n <= 100 && got > 80 {
			t.Errorf("a request of %d bytes is answered by %d: %s", want, got, answer)
		}
		if err := stun.Fingerprint.Check(answer); err != nil {
			t.Errorf("the answer to a request of %d bytes: %v", want, err)
		}
	}
}

// limitAll makes the limit of answers apply to loopback addresses too.
func limitAll(r *Relay, now func() time.Time) {
	r.answers = policy.NewAnswerLimit(now, func(netip.Addr) bool { return false })
}

// countAnswers sends requests to a relay, a few at a time so that none is lost, and returns the number of answers and
// the length of the last one.
func countAnswers(t *testing.T, r *Relay, victim net.Conn, requests int, send func(n int) error) (answers, length int) {
	t.Helper()
	before := r.Usage().Unanswered
	buf := make([]byte, 2048)
	for n := range requests {
		if err := send(n); err != nil {
			t.Fatal(err)
		}
		if n%20 != 19 && n != requests-1 {
			continue
		}
		waittest.Until(t, "every request is answered or counted", func() bool {
			for {
				victim.SetReadDeadline(time.Now().Add(time.Millisecond))
				size, err := victim.Read(buf)
				if err != nil {
					break
				}
				answers, length = answers+1, size
			}
			return answers+int(r.Usage().Unanswered-before) == n+1
		})
	}
	return answers, length
}

// TestForgedSourceGetsFewAnswersFromAllAddresses checks that all four sockets together answer no more than one.
func TestForgedSourceGetsFewAnswersFromAllAddresses(t *testing.T) {
	clock := newClock()
	r := startTwice(t, func(r *Relay) { limitAll(r, clock.now) })
	victim, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	answers, _ := countAnswers(t, r, victim, 400, func(n int) error {
		request := message(stun.BindingRequest, changeRequest(uint32(n%4)<<1))
		_, err := victim.WriteToUDPAddrPort(request.Raw, r.discovery.at(place{n / 2 % 2, n % 2}))
		return err
	})
	if answers != policy.AnswerBurst {
		t.Errorf("%d answers, want %d", answers, policy.AnswerBurst)
	}
}

func TestListenNeedsBothAddresses(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::1]:0", "localhost:0", "127.0.0.2:0"} {
		if s, err := Listen(address, netip.MustParseAddr("127.0.0.2")); err == nil {
			s.Close()
			t.Errorf("%s is accepted as the first address", address)
		}
	}
	if s, err := Listen("127.0.0.1:0", netip.MustParseAddr("192.0.2.1")); err == nil {
		s.Close()
		t.Error("an address of another machine is accepted as the second")
	}
}
