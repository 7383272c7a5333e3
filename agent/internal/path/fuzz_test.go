package path

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun"
)

func FuzzAdmit(f *testing.F) {
	f.Add("192.0.2.1:5")
	f.Add("[::ffff:127.0.0.1]:5")
	f.Add("[64:ff9b::7f00:1]:5")
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddrPort(s)
		if err != nil {
			return
		}
		if ap, err := admit(addr, false); err == nil && (ap.Addr().IsLoopback() || ap.Addr().IsLinkLocalUnicast() || ap.Addr().Is4In6()) {
			t.Fatalf("%v is admitted", ap)
		}
	})
}

// FuzzDeliver throws what strangers may send at the socket's reader.
func FuzzDeliver(f *testing.F) {
	req, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername("me:you"), stun.Fingerprint)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(req.Raw)
	answer, err := stun.Build(stun.NewTransactionIDSetter(transaction{}), stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1), Port: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer.Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMux(nil)
		c, err := m.open(muxKey{ufrag: "me"})
		if err != nil {
			t.Fatal(err)
		}
		c.expect(transaction{})
		heard := make(chan netip.AddrPort, 1)
		m.asked[transaction{1}] = heard
		m.deliver(b, netip.MustParseAddrPort("192.0.2.9:9"))
		if len(c.queue)+len(heard) > 1 {
			t.Fatal("delivered twice")
		}
		_ = c.Close()
		if len(m.pending) != 0 || len(m.conns) != 0 {
			t.Fatal("a closed conn is remembered")
		}
	})
}

type pieces struct {
	net.Conn
	r io.Reader
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b) }

func FuzzFrameConn(f *testing.F) {
	f.Add([]byte{0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0})
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	f.Add([]byte{0x80, 0, 0, 0})
	f.Add(append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := io.ReadAll(newFrameConn(pieces{r: bytes.NewReader(b)}))
		if !bytes.HasPrefix(b, got) || err == nil && len(got) != len(b) {
			t.Fatalf("%x became %x: %v", b, got, err)
		}
	})
}
