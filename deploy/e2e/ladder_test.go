package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

// TestSymmetricNATsAreRelayed: hole punching cannot work between two symmetric NATs.
func TestSymmetricNATsAreRelayed(t *testing.T) {
	t.Parallel()
	k := startChain(t, network{host: nat("symmetric"), client: nat("symmetric")})
	u := k.client.use(t, "workshop", k.share(t, "harddrive"))
	d := k.c.mountDisk(t)
	k.c.copyOut(t, d, k.files.little)
	relayed := func(p peerStatus) bool { return strings.HasPrefix(p.Link.Rank, "relayed") }
	p, q := k.client.peer(t, "workshop", time.Minute, relayed), k.host.peer(t, "laptop", time.Minute, relayed)
	if !strings.Contains(p.WhyNoBetter, "NAT") || !strings.Contains(q.WhyNoBetter, "NAT") {
		t.Errorf("the status does not say why: %q, %q", p.WhyNoBetter, q.WhyNoBetter)
	}
	// One peer has an allocation at the relay, which the other sees as its remote address.
	if !strings.HasPrefix(p.Link.Relay+q.Link.Relay, "198.51.100.10:") {
		t.Errorf("the status names no relay: %+v, %+v", p.Link, q.Link)
	}
	k.c.must(t, commandTimeout, "umount /mnt")
	k.giveBack(t, u.ID)
}

// TestBlockedUDPFallsBackToTCP: the client's network only lets TCP out.
func TestBlockedUDPFallsBackToTCP(t *testing.T) {
	t.Parallel()
	client := nat("portrestrict")
	client.FW = &lab.Firewall{Allow: []string{"tcp"}}
	k := startChain(t, network{host: nat("portrestrict"), client: client})
	u := k.client.use(t, "workshop", k.share(t, "harddrive"))
	d := k.c.mountDisk(t)
	k.c.copyOut(t, d, k.files.little)
	p := k.client.peer(t, "workshop", time.Minute, func(p peerStatus) bool {
		return strings.Contains(p.Link.Rank, "TCP") || strings.Contains(p.Link.Rank, "TLS")
	})
	if !strings.Contains(p.WhyNoBetter, "UDP") {
		t.Errorf("the status does not say that UDP does not get through: %+v", p)
	}
	k.c.must(t, commandTimeout, "umount /mnt")
	k.giveBack(t, u.ID)
}

// TestLinksWithoutRendezvous: paired peers need no rendezvous if one can reach the other.
func TestLinksWithoutRendezvous(t *testing.T) {
	t.Parallel()
	host := nat("symmetric")
	host.NAT.Forward = []lab.Forward{
		{Proto: "tcp", Port: 7574, To: "192.168.1.2:7574"},
		{Proto: "tcp", Port: 7575, To: "192.168.1.2:7575"},
	}
	k := startChain(t, network{host: host, client: nat("symmetric")})
	disk := k.share(t, "harddrive")
	k.host.stop(t)
	k.client.stop(t)
	k.rendezvous.stop()
	k.host.up(t, "--tcp-listen", ":7575")
	k.client.up(t)
	for _, way := range []struct {
		address, transport string
		encrypted          bool
	}{
		{"tls://203.0.113.10:7574", "tls", true},
		{"tcp://203.0.113.10:7575", "tcp", false},
	} {
		t.Run(way.transport, func(t *testing.T) {
			k.client.must(t, nil, "reach", "workshop", way.address)
			u := k.client.use(t, "workshop", disk)
			d := k.c.mountDisk(t)
			k.c.copyOut(t, d, k.files.all)
			sum := k.c.copyIn(t)
			p := k.client.peer(
				t,
				"workshop",
				time.Minute,
				func(p peerStatus) bool { return p.Link.Transport == way.transport },
			)
			if p.Link.Encrypted != way.encrypted || !strings.HasSuffix(way.address, p.Link.Remote) {
				t.Errorf("the link: %+v", p.Link)
			}
			if !strings.Contains(p.WhyNoBetter, "no rendezvous") {
				t.Errorf("the status does not say that there is no rendezvous: %q", p.WhyNoBetter)
			}
			k.c.must(t, commandTimeout, "umount /mnt")
			k.giveBack(t, u.ID)
			k.s.hasDiskBack(t, sum)
			// The next case starts without this link.
			k.client.must(t, nil, "reach", "workshop", "--clear")
			k.client.stop(t)
			k.client.up(t)
		})
	}
}
