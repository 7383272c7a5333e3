package path

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun"
)

// FuzzCheckAddr checks that no refused kind of address passes in another notation.
func FuzzCheckAddr(f *testing.F) {
	f.Add("192.0.2.1:5")
	f.Add("[::ffff:127.0.0.1]:5")
	f.Add("[64:ff9b::7f00:1]:5")
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddrPort(s)
		if err != nil {
			return
		}
		ap, err := checkAddr(addr, false)
		if a := ap.Addr(); err == nil && (a.IsLoopback() || a.IsLinkLocalUnicast() || a.Is4In6()) {
			t.Fatalf("%v is allowed", ap)
		}
	})
}

// FuzzDeliver delivers packets that anybody may send to the socket.
func FuzzDeliver(f *testing.F) {
	req, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername("me:you"), stun.Fingerprint)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(req.Raw)
	response, err := stun.Build(stun.NewTransactionIDSetter(transaction{}), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1), Port: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(response.Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMux(nil)
		c, err := m.open(muxKey{ufrag: "me"})
		if err != nil {
			t.Fatal(err)
		}
		c.expect(transaction{})
		responses := make(chan netip.AddrPort, 1)
		m.queries[transaction{1}] = responses
		m.deliver(b, netip.MustParseAddrPort("192.0.2.9:9"))
		if len(c.queue)+len(responses) > 1 {
			t.Fatal("the packet was delivered twice")
		}
		_ = c.Close()
		if len(m.checks) != 0 || len(m.conns) != 0 {
			t.Fatal("the mux still has the closed connection")
		}
	})
}

// readConn is a connection that reads from r.
type readConn struct {
	net.Conn
	r io.Reader
}

func (c readConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// FuzzFrameConn checks that a frameConn passes a prefix of its input, and all of it
// if it reports no error.
func FuzzFrameConn(f *testing.F) {
	f.Add([]byte{0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0})
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	f.Add([]byte{0x80, 0, 0, 0})
	f.Add(append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := io.ReadAll(newFrameConn(readConn{r: bytes.NewReader(b)}))
		if !bytes.HasPrefix(b, got) || err == nil && len(got) != len(b) {
			t.Fatalf("read %[2]x from %[1]x: %[3]v", b, got, err)
		}
	})
}
