// Package loopbacktest gives tests addresses on loopback that nothing else uses, for
// servers whose address must be known before they start: those that are restarted, and
// programs that cannot report a port that the system chose.
package loopbacktest

import (
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
)

// port is the port of all addresses. It is below the range from which Linux chooses
// ports (net.ipv4.ip_local_port_range).
const port = 16000

var addresses atomic.Uint32 // number of calls of Address

// Address returns an address for a server. Each call returns another IP address of
// 127.0.0.0/8, which also differs from those of other processes. Therefore no other
// program takes the port meanwhile. All other ports of the IP address are free as well.
func Address() netip.AddrPort {
	pid := os.Getpid()
	ip := fmt.Sprintf("127.%d.%d.%d", 64+pid>>8%128, pid%256, 1+addresses.Add(1)%254)
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port)
}
