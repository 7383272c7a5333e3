package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/stun"
)

// TestMessagesAreThoseOfTheRFC compares with the STUN library's.
func TestMessagesAreThoseOfTheRFC(t *testing.T) {
	for _, address := range []string{"192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"} {
		at := netip.MustParseAddrPort(address)
		key := []byte("key")
		m := begin(allocateError).addXORAddress(attrXORMapped, at).addAddress(attrOtherAddress, at).addError(486, "Allocation Quota Reached").
			addIntegrity(key).addFingerprint()
		if !wellFormed(m) {
			t.Errorf("%x is not well-formed", []byte(m))
		}
		theirs := &stun.Message{Raw: slices.Clone(m)}
		var mapped stun.XORMappedAddress
		var other stun.OtherAddress
		var code stun.ErrorCodeAttribute
		if err := theirs.Decode(); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"address": mapped.GetFrom(theirs), "plain address": other.GetFrom(theirs), "error": code.GetFrom(theirs),
			"MAC": stun.MessageIntegrity(key).Check(theirs), "CRC": stun.Fingerprint.Check(theirs),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if mapped.String() != at.String() || other.String() != at.String() || code.Code != 486 {
			t.Errorf("read %s, %s and %s", mapped, other, code)
		}
		if got := xorAddress(t, m, attrXORMapped); got != at {
			t.Errorf("read back %s", got)
		}
	}
}

func TestMalformedMessagesAreNot(t *testing.T) {
	good := begin(bindingRequest).add(attrLifetime, make([]byte, 4)).add(0x8022, []byte("abc"))
	if !wellFormed(good) {
		t.Fatal("a good one is refused")
	}
	for n := range good {
		if wellFormed(good[:n]) {
			t.Errorf("the first %d bytes are taken for a message", n)
		}
	}
	longer := slices.Clone(good)
	binary.BigEndian.PutUint16(longer[2:], uint16(len(good)))
	within := slices.Clone(good)
	binary.BigEndian.PutUint16(within[stunHeader+2:], 0xfffc)
	for name, m := range map[string]message{
		"a length beyond the datagram": longer, "an attribute beyond the message": within, "channel data": append(message{0x40}, good[1:]...),
		"a lifetime of 3 bytes": begin(bindingRequest).add(attrLifetime, make([]byte, 3)),
		"an address of 0 bytes": begin(bindingRequest).add(attrXORPeerAddress, nil),
	} {
		if wellFormed(m) {
			t.Errorf("%s is well-formed", name)
		}
	}
}

// FuzzMessage: what passes as well-formed, the STUN library reads without a
// panic, whatever its memory is.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(begin(bindingRequest)))
	f.Add([]byte(begin(sendIndication).add(attrData, []byte("x")).addXORAddress(attrXORPeerAddress, netip.MustParseAddrPort("192.0.2.1:1"))))
	f.Add([]byte(begin(sendIndication).add(attrXORPeerAddress, nil)))
	f.Add([]byte(begin(bindingRequest).addIntegrity([]byte("key")).addFingerprint()))
	f.Fuzz(func(t *testing.T, p []byte) {
		if !wellFormed(p) {
			return
		}
		n := stunHeader
		for _, value := range message(p).attributes() {
			n += channelHeader + len(value) + -len(value)&3
		}
		if n != len(p) {
			t.Fatalf("the attributes have %d bytes of %d", n, len(p))
		}
		exact := make([]byte, len(p)) // without room behind it
		copy(exact, p)
		m := &stun.Message{Raw: exact[:len(p):len(p)]}
		if m.Decode() != nil {
			return
		}
		for _, attr := range []stun.AttrType{stun.AttrXORMappedAddress, stun.AttrXORPeerAddress, stun.AttrXORRelayedAddress} {
			var a stun.XORMappedAddress
			a.GetFromAs(m, attr)
		}
		var username stun.Username
		var nonce stun.Nonce
		username.GetFrom(m)
		nonce.GetFrom(m)
		stun.MessageIntegrity("key").Check(m)
	})
}

// memory is a connection whose clients are a list of messages.
type memory struct {
	left    [][]byte
	answers []message
	from    netip.AddrPort
	more    func(*memory) []byte // makes a message when none is left, or nil
}

func (m *memory) ready() bool { return len(m.left) > 0 }

func (m *memory) next() ([]byte, netip.AddrPort, error) {
	if len(m.left) == 0 {
		p := m.more(m)
		if p == nil {
			return nil, netip.AddrPort{}, net.ErrClosed
		}
		m.left = append(m.left, p)
	}
	p := m.left[0]
	m.left = m.left[1:]
	return p, m.from, nil
}

func (m *memory) answer(p []byte, _ netip.AddrPort) error {
	m.answers = append(m.answers, slices.Clone(p))
	return nil
}

func (m *memory) outbox(netip.AddrPort) outbox       { return nothing{} }
func (m *memory) address(of netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(of) }

type nothing struct{}

func (nothing) add(_, _ []byte) {}
func (nothing) flush()          {}

// FuzzDoor gives a client with an allocation any message, as it is and as a
// request of its own: whatever is answered, the process goes on.
func FuzzDoor(f *testing.F) {
	f.Add([]byte(begin(bindingRequest)))
	f.Add([]byte(begin(channelBindRequest).add(attrChannelNumber, []byte{0x40, 0, 0, 0})))
	f.Add([]byte(begin(sendIndication).add(attrData, nil).addXORAddress(attrXORPeerAddress, netip.MustParseAddrPort("127.0.0.1:9"))))
	f.Add([]byte(begin(refreshRequest).add(attrLifetime, []byte{0, 0, 0, 0})))
	f.Add([]byte(begin(allocateRequest).add(attrEvenPort, []byte{0x80}).add(attrReservation, make([]byte, 8))))
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
		nonce := []byte(nil)
		signed := func(m message) []byte {
			return m.add(attrUsername, []byte(login.Username)).add(attrRealm, []byte(realm)).add(attrNonce, nonce).addIntegrity(keyOf(login))
		}
		step := 0
		client := &memory{from: netip.MustParseAddrPort("127.0.0.1:9")}
		client.more = func(m *memory) []byte {
			step++
			switch step {
			case 1:
				return begin(allocateRequest)
			case 2:
				nonce = m.answers[0].find(attrNonce)
				return signed(begin(allocateRequest).add(attrTransport, []byte{17, 0, 0, 0}))
			case 3:
				return p
			case 4:
				if len(p) >= stunHeader && wellFormed(p) && len(p) < 1000 {
					return signed(slices.Clone(p))
				}
				return begin(bindingRequest)
			}
			return nil
		}
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.serve(conn, place{}, func(*door) (clients, error) { return client, nil }); err != nil {
			t.Fatal(err)
		}
		if len(client.answers) < 2 || client.answers[1].kind() != allocateSuccess {
			t.Fatalf("no allocation: %x", client.answers)
		}
	})
}
