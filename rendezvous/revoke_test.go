package rendezvous

import (
	"net/http"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// TestARevokedPeerIsSentAwayEverywhere revokes at one instance a peer that is
// connected to another.
func TestARevokedPeerIsSentAwayEverywhere(t *testing.T) {
	url := postgres(t)
	var both [2]*instance
	var configs [2]Config
	for n := range both {
		configs[n] = local(t)
		configs[n].DatabaseURL, configs[n].ClusterListen = url, "127.0.0.1:0"
		both[n] = start(t, configs[n])
	}
	admin := newAdmin(t, KeptAdminLink(configs[0].Data))
	if link := KeptAdminLink(configs[1].Data); link != "" {
		t.Errorf("the second instance has an admin link of its own: %s", link)
	}
	p := newPeer(t, both[1].link, 1).connect()
	asked := time.Now()
	admin.call(http.MethodDelete, api.AdminPeerPath(p.key.ID()), nil)
	if bye, ok := p.read().(signal.Bye); !ok || bye.Code != signal.ByeRevoked {
		t.Errorf("got %#v", bye)
	}
	if took := time.Since(asked); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, i := range both { // nor does another instance take it
		again, _ := follow(t, i.link)
		again.key = p.key
		if bye, ok := again.hello().(signal.Bye); !ok || bye.Code != signal.ByeRevoked {
			t.Errorf("connecting again: %#v", bye)
		}
	}
}
