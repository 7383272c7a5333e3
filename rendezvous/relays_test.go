//go:build unix

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
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/relaytest"
)

// TestRelaysOfTwoInstancesReachEachOther is about two peers that are each left
// with a relay, of different instances: on one machine, as here, and so at one
// address that nothing else may be relayed to.
func TestRelaysOfTwoInstancesReachEachOther(t *testing.T) {
	url := postgres(t)
	ranges := []string{"49152-57343", "57344-65535"}
	var relayed []net.PacketConn
	for n, ports := range ranges {
		c := local(t)
		c.DatabaseURL, c.ClusterListen, c.RelayPorts = url, "127.0.0.1:0", ports
		p := newPeer(t, start(t, c).link, byte(n+1))
		var credentials api.RelayCredentials
		p.call(http.MethodPost, api.PathRelay, &credentials)
		transport := []string{"turn:", "turns:"}[n] // over UDP, over the HTTPS port
		uri := credentials.URIs[slices.IndexFunc(credentials.URIs,
			func(uri string) bool { return strings.HasPrefix(uri, transport) })]
		config := p.tls.Clone()
		config.NextProtos = []string{"stun.turn"}
		a, err := relaytest.Allocate(t, uri, credentials.Username, credentials.Password, config)
		if err != nil {
			t.Fatal(err)
		}
		relayed = append(relayed, a)
	}
	a, b := relayed[0], relayed[1]
	// Each instance learns of the other within about a second. Until then it drops
	// packets for the ports of the other.
	buf := make([]byte, 100)
	for _, pair := range [][2]net.PacketConn{{a, b}, {b, a}, {a, b}} {
		waittest.Until(t, "a packet arrives at the other relay", func() bool {
			if _, err := pair[0].WriteTo([]byte("hello"), pair[1].LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if _, err := pair[1].WriteTo([]byte("permit"), pair[0].LocalAddr()); err != nil {
				t.Fatal(err)
			}
			pair[1].SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			n, from, err := pair[1].ReadFrom(buf)
			return err == nil && string(buf[:n]) == "hello" && from.String() == pair[0].LocalAddr().String()
		})
	}
}
