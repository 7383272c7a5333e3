package path_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/pion/turn/v2"
)

const (
	relayUser, relayPassword = "user", "secret"
	realm                    = "test"
)

// serveRelay runs a server for STUN and TURN on two UDP ports, P and P+1, and for
// TURN on TCP port P. Its allocations are on ip.
func serveRelay(ip string, port int) (*turn.Server, int, error) {
	conf := turn.ServerConfig{
		Realm: realm,
		AuthHandler: func(user, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(user, realm, relayPassword), user == relayUser
		},
	}
	gen := &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(ip), Address: ip}
	for i := range 2 {
		c, err := net.ListenPacket("udp4", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			return nil, 0, err
		}
		if i == 0 {
			port = c.LocalAddr().(*net.UDPAddr).Port + 1
		}
		conf.PacketConnConfigs = append(conf.PacketConnConfigs,
			turn.PacketConnConfig{PacketConn: c, RelayAddressGenerator: gen})
	}
	port--
	l, err := net.Listen("tcp4", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		return nil, 0, err
	}
	conf.ListenerConfigs = []turn.ListenerConfig{{Listener: l, RelayAddressGenerator: gen}}
	s, err := turn.NewServer(conf)
	return s, port, err
}

func startRelay(t *testing.T) (port string) {
	t.Helper()
	s, p, err := serveRelay("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return strconv.Itoa(p)
}
