package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/stun"
)

func TestAddressesAreReadAsWritten(t *testing.T) {
	for _, address := range []string{"192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"} {
		want := netip.MustParseAddrPort(address)
		m := message(allocateSuccess,
			xorAddress{stun.AttrXORMappedAddress, want}, plainAddress{stun.AttrOtherAddress, want})
		var got stun.Message
		if !decode(&got, m.Raw) {
			t.Fatalf("%s is malformed", m)
		}
		if a := readXORAddress(&got, stun.AttrXORMappedAddress); a != want {
			t.Errorf("%s is read as %s", want, a)
		}
		var other stun.OtherAddress
		if err := other.GetFrom(&got); err != nil || other.String() != address {
			t.Errorf("%s is read as %s, %v", want, other, err)
		}
	}
}

func TestMalformedMessagesAreRejected(t *testing.T) {
	valid := message(stun.BindingRequest, lifetime(0), stun.NewSoftware("abc")).Raw
	var m stun.Message
	if !decode(&m, valid) {
		t.Fatal("a valid message is rejected")
	}
	for n := range valid {
		if decode(&m, valid[:n]) {
			t.Errorf("the first %d bytes are accepted as a message", n)
		}
	}
	longer := slices.Clone(valid)
	binary.BigEndian.PutUint16(longer[2:], uint16(len(valid)))
	within := slices.Clone(valid)
	binary.BigEndian.PutUint16(within[stunHeader+2:], 0xfffc)
	with := func(attr stun.AttrType, value []byte) []byte {
		return message(stun.BindingRequest, attribute(attr, value)).Raw
	}
	cookie := slices.Clone(valid)
	cookie[4]++
	for name, p := range map[string][]byte{
		"a length beyond the datagram":    longer,
		"an attribute beyond the message": within,
		"another magic cookie":            cookie,
		"bytes after the message":         append(slices.Clone(valid), 0, 0, 0, 0),
		"channel data":                    append([]byte{0x40}, valid[1:]...),
		"a lifetime of 3 bytes":           with(stun.AttrLifetime, make([]byte, 3)),
		"an address of 0 bytes":           with(stun.AttrXORPeerAddress, nil),
		"an old address of 1 byte":        with(0x8020, []byte{0}),
	} {
		if decode(&m, p) {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestOnlyAnswersToStrangersAreLimited(t *testing.T) {
	for kind, want := range map[uint16]bool{
		0x0101: true,  // Binding success
		0x0111: true,  // Binding error
		0x0113: true,  // Allocate error
		0x0118: true,  // CreatePermission error
		0x0103: false, // Allocate success
		0x0017: false, // Data indication
		0x4000: false, // channel data
		0x4111: false, // channel data
	} {
		if got := isUnauthenticated(binary.BigEndian.AppendUint16(nil, kind)); got != want {
			t.Errorf("%04x: %t, want %t", kind, got, want)
		}
	}
}

// FuzzMessage checks that a message which decode accepts can be read without a panic, even if no memory follows it.
func FuzzMessage(f *testing.F) {
	address := peerAddress(netip.MustParseAddrPort("192.0.2.1:1"))
	f.Add(message(stun.BindingRequest).Raw)
	f.Add(message(sendIndication, attribute(stun.AttrData, []byte("x")), address).Raw)
	f.Add(message(sendIndication, attribute(stun.AttrXORPeerAddress, nil)).Raw)
	f.Add(message(sendIndication, attribute(stun.AttrXORPeerAddress, []byte{0, 2, 0, 0, 0, 0, 0, 0})).Raw)
	f.Add(message(stun.BindingRequest, stun.MessageIntegrity("key"), stun.Fingerprint).Raw)
	f.Fuzz(func(t *testing.T, p []byte) {
		exact := make([]byte, len(p))
		copy(exact, p)
		m := &stun.Message{}
		if !decode(m, exact) {
			return
		}
		n := stunHeader
		for _, a := range m.Attributes {
			n += channelHeader + len(a.Value) + -len(a.Value)&3
		}
		if n != len(p) {
			t.Fatalf("the attributes have %d bytes of %d", n, len(p))
		}
		readXORAddress(m, stun.AttrXORMappedAddress)
		readXORAddress(m, stun.AttrXORPeerAddress)
		readXORAddress(m, stun.AttrXORRelayedAddress)
		var username stun.Username
		var nonce stun.Nonce
		username.GetFrom(m)
		nonce.GetFrom(m)
		stun.MessageIntegrity("key").Check(m)
		var d *discovery
		d.answer(m, netip.MustParseAddrPort("192.0.2.1:1"), place{})
	})
}

// scriptedClient is the only client of a TURN socket, and sends messages that a test makes.
type scriptedClient struct {
	answers []*stun.Message
	from    netip.AddrPort
	script  func(answers []*stun.Message) []byte // returns the next message, or nil at the end
}

func (c *scriptedClient) ready() bool { return false }

func (c *scriptedClient) next() ([]byte, netip.AddrPort, error) {
	p := c.script(c.answers)
	if p == nil {
		return nil, netip.AddrPort{}, net.ErrClosed
	}
	return p, c.from, nil
}

func (c *scriptedClient) answer(p []byte, _ netip.AddrPort) error {
	m := &stun.Message{}
	decode(m, slices.Clone(p))
	c.answers = append(c.answers, m)
	return nil
}

func (c *scriptedClient) outbox(netip.AddrPort) outbox { return discard{} }
func (c *scriptedClient) address(client netip.AddrPort) net.Addr {
	return net.UDPAddrFromAddrPort(client)
}

// discard is an outbox that drops everything.
type discard struct{}

func (discard) add(_, _ []byte) {}
func (discard) flush()          {}

// FuzzTURNSocket sends any message of a client that has an allocation: as it is, and as an authenticated request.
// The relay may answer anything, but it must not panic.
func FuzzTURNSocket(f *testing.F) {
	f.Add(message(stun.BindingRequest).Raw)
	f.Add(message(channelBindRequest, attribute(stun.AttrChannelNumber, []byte{0x40, 0, 0, 0})).Raw)
	local := peerAddress(netip.MustParseAddrPort("127.0.0.1:9"))
	f.Add(message(sendIndication, attribute(stun.AttrData, nil), local).Raw)
	f.Add(message(refreshRequest, lifetime(0)).Raw)
	token := attribute(stun.AttrReservationToken, make([]byte, 8))
	f.Add(message(allocateRequest, attribute(stun.AttrEvenPort, []byte{0x80}), token).Raw)
	f.Add([]byte{0x40, 0, 0, 1, 9, 0, 0, 0})
	sockets, err := Listen("127.0.0.1:0", netip.Addr{})
	if err != nil {
		f.Fatal(err)
	}
	defer sockets.Close()
	r, err := New(config(sockets))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		login := r.Issue(peer(1))
		var nonce stun.Nonce
		signed := func(m *stun.Message) []byte {
			add(m, stun.NewUsername(login.Username), stun.NewRealm(realm), nonce, keyOf(login))
			return m.Raw
		}
		step := 0
		client := &scriptedClient{from: netip.MustParseAddrPort("127.0.0.1:9")}
		client.script = func(answers []*stun.Message) []byte {
			step++
			switch step {
			case 1:
				return message(allocateRequest).Raw
			case 2:
				nonce.GetFrom(answers[0])
				return signed(message(allocateRequest, overUDP))
			case 3:
				return p
			case 4:
				m := &stun.Message{}
				if len(p) < 1000 && decode(m, slices.Clone(p)) {
					return signed(m)
				}
				return message(stun.BindingRequest).Raw
			}
			return nil
		}
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.serve(conn, place{}, func(*turnSocket) (clients, error) { return client, nil }); err != nil {
			t.Fatal(err)
		}
		if len(client.answers) < 2 || client.answers[1].Type != allocateSuccess {
			t.Fatalf("there is no allocation: %v", client.answers)
		}
	})
}

func BenchmarkDataIndication(b *testing.B) {
	a := &allocation{}
	from, data := netip.MustParseAddrPort("192.0.2.1:1"), make([]byte, 1200)
	b.ReportAllocs()
	for b.Loop() {
		a.dataIndication(from, data)
	}
}

func BenchmarkDecode(b *testing.B) {
	to := peerAddress(netip.MustParseAddrPort("192.0.2.1:1"))
	p := message(sendIndication, to, attribute(stun.AttrData, make([]byte, 1200))).Raw
	var m stun.Message
	b.ReportAllocs()
	for b.Loop() {
		decode(&m, p)
	}
}
