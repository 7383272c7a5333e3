package linktest

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryKeepsContract(t *testing.T) {
	Run(t, func(*testing.T) (link.Link, link.Link) {
		d, a := Pair(ident.PeerID{1}, ident.PeerID{2}, LAN())
		return d, a
	})
}

func TestBreakEndsBothSides(t *testing.T) {
	d, a := Pair(ident.PeerID{1}, ident.PeerID{2}, LAN())
	lost := errors.New("the network is down")
	dialerEnded, acceptorEnded := Start(t, d, ignore), Start(t, a, ignore)
	d.Break(lost)
	for _, ended := range []<-chan error{dialerEnded, acceptorEnded} {
		if err := Within(t, ended, "Run of a link that broke"); !errors.Is(err, lost) {
			t.Errorf("Run of a link that broke: %v", err)
		}
	}
}
