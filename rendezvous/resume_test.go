package rendezvous

import (
	"crypto/tls"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// TestHelloIsBoundToResumedConnection: the proof of a peer on a resumed TLS session is not
// valid on another connection.
func TestHelloIsBoundToResumedConnection(t *testing.T) {
	i := start(t, local(t))
	p := newPeer(t, i.link, 1)
	p.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	p.connect()
	first := p.conn.ConnectionState()
	p.connect()
	second := p.conn.ConnectionState()
	if first.DidResume || !second.DidResume {
		t.Fatalf("resumed: %v, then %v", first.DidResume, second.DidResume)
	}
	// The proof for the first connection is sent on another one, which was resumed.
	if m, ok := p.helloOf(&first).(signal.Bye); !ok || !p.conn.ConnectionState().DidResume {
		t.Errorf("a proof for another connection: %#v", m)
	}
	if _, err := tls.Dial("tcp", p.host, &tls.Config{
		ClientSessionCache: p.tls.ClientSessionCache,
		ServerName:         "x",
	}); err == nil {
		t.Error("a client that verifies certificates accepted a self-signed one")
	}
	wrong := ident.PinnedTLS(ident.Pin{1})
	wrong.ClientSessionCache = p.tls.ClientSessionCache
	if conn, err := tls.Dial("tcp", p.host, wrong); err == nil {
		conn.Close()
		t.Error("a resumption bypasses the pin")
	}
}
