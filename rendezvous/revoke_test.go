package rendezvous

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/relaytest"
)

// TestRevokedPeerIsDisconnectedFromAllInstances revokes a peer at one instance. The
// peer is connected to another instance and uses the relay of a third.
func TestRevokedPeerIsDisconnectedFromAllInstances(t *testing.T) {
	url := postgres(t)
	var all [3]*instance
	var configs [3]Config
	for n := range all {
		configs[n] = local(t)
		configs[n].DatabaseURL, configs[n].ClusterListen = url, "127.0.0.1:0"
		configs[n].RelayAllow = []string{"127.0.0.0/8"}
		all[n] = start(t, configs[n])
	}
	admin := newAdmin(t, KeptAdminLink(configs[0].Data))
	if link := KeptAdminLink(configs[1].Data); link != "" {
		t.Errorf("the second instance has an admin link of its own: %s", link)
	}
	p := newPeer(t, all[1].link, 1).connect()
	relays := relaying(t, p, all[2].link)
	waittest.Until(t, "the relay forwards packets", relays)
	admin.call(http.MethodDelete, api.AdminPeerPath(p.key.ID()), nil)
	if bye, ok := p.read().(signal.Bye); !ok || bye.Code != signal.ByeRevoked {
		t.Errorf("the peer got %#v", bye)
	}
	waittest.Until(t, "the relay forwards no packets", func() bool { return !relays() })
	for _, i := range all {
		again, _ := follow(t, i.link)
		again.key = p.key
		if bye, ok := again.hello().(signal.Bye); !ok || bye.Code != signal.ByeRevoked {
			t.Errorf("the peer connects again: %#v", bye)
		}
	}
}

// relaying allocates a relayed address for a peer at the instance of a link. It
// returns a function that reports whether the relay forwards packets from there.
func relaying(t *testing.T, p *peer, link string) func() bool {
	t.Helper()
	there, _ := follow(t, link)
	there.key, there.token = p.key, p.token
	var credentials api.RelayCredentials
	there.call(http.MethodPost, api.PathRelay, &credentials)
	udp := slices.IndexFunc(credentials.URIs, func(uri string) bool { return strings.HasPrefix(uri, "turn:") })
	relayed, err := relaytest.Allocate(t, credentials.URIs[udp], credentials.Username, credentials.Password, nil)
	if err != nil {
		t.Fatal(err)
	}
	// It has another address than the relay, which refuses its own ports.
	sink, err := net.ListenPacket("udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	buf := make([]byte, 100)
	return func() bool {
		for range 3 { // a packet may be lost
			if _, err := relayed.WriteTo([]byte("hello"), sink.LocalAddr()); err != nil {
				return false
			}
			sink.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			if _, _, err := sink.ReadFrom(buf); err == nil {
				return true
			}
		}
		return false
	}
}
