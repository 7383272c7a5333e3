package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/internal/waittest"
)

func TestThousandRequestsMakeFewAllocations(t *testing.T) {
	r := start(t, nil)
	login := r.Issue(peer(1))
	codes := map[stun.ErrorCode]int{}
	for range 1000 {
		c := newRaw(t, r, "udp", login)
		_, code := c.allocate()
		codes[code]++
		if code != 0 {
			c.conn.Close()
		}
	}
	if codes[0] != 8 || codes[stun.CodeAllocQuotaReached] != 992 || r.Allocations() != 8 {
		t.Errorf("codes %v and %d allocations, want 8 allocations and 992 refusals with 486", codes, r.Allocations())
	}
	if u := r.Usage(); u.Refused != 992 || u.Allocated != 8 {
		t.Errorf("%d refused and %d made are counted, want 992 and 8", u.Refused, u.Allocated)
	}
	if _, code := newRaw(t, r, "udp", r.Issue(peer(2))).allocate(); code != 0 {
		t.Errorf("another peer is refused: %d", code)
	}
}

func TestAllPeersTogetherHaveAMaximumOfAllocations(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxAllocations = 3 })
	for seed := range byte(3) {
		if _, code := newRaw(t, r, "udp", r.Issue(peer(seed))).allocate(); code != 0 {
			t.Fatalf("allocation %d: %d", seed, code)
		}
	}
	if _, code := newRaw(t, r, "udp", r.Issue(peer(9))).allocate(); code != stun.CodeInsufficientCapacity {
		t.Errorf("one too many: %d, want 508", code)
	}
}

func TestAllocationHasAMaximumOfPermissions(t *testing.T) {
	clock := newClock()
	r := start(t, func(c *Config) { c.Now = clock.now })
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	address := func(n int) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, byte(n)}), 9) }
	for n := range maxPermissions {
		if code := c.permit(address(n)); code != 0 {
			t.Fatalf("permission %d: %d", n, code)
		}
	}
	if code := c.permit(address(maxPermissions)); code != stun.CodeInsufficientCapacity {
		t.Errorf("one too many: %d, want 508", code)
	}
	if code := c.bind(0x4000, address(maxPermissions)); code != stun.CodeInsufficientCapacity {
		t.Errorf("a channel to one too many: %d, want 508", code)
	}
	if code := c.permit(address(0)); code != 0 {
		t.Errorf("an address that is permitted already: %d", code)
	}
	clock.add(permissionTTL)
	if code := c.permit(address(maxPermissions)); code != 0 {
		t.Errorf("after the others have expired: %d", code)
	}
}

// TestRatesBoundRelayedPackets sends packets in both directions while the time of the relay stands still.
func TestRatesBoundRelayedPackets(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"of a peer":    func(c *Config) { c.PeerRate = limits.FlowRate{Packets: 100} },
		"of all peers": func(c *Config) { c.Rate = limits.FlowRate{Bytes: 10_000} },
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			r := start(t, func(c *Config) {
				change(c)
				c.Now, c.Allow = clock.now, []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
			})
			friend, err := net.ListenPacket("udp4", "127.0.0.2:0")
			if err != nil {
				t.Fatal(err)
			}
			defer friend.Close()
			c := newRaw(t, r, "udp", r.Issue(peer(1)))
			relayed, code := c.allocate()
			if code != 0 || c.bind(0x4000, friend.LocalAddr().(*net.UDPAddr).AddrPort()) != 0 {
				t.Fatal("no allocation or no channel")
			}
			packet := make([]byte, 100)
			var u Usage
			await := func(packets uint64) {
				t.Helper()
				waittest.Until(t, "all packets are relayed or counted", func() bool {
					u = r.Usage()
					return u.FromClients.Packets+u.ToClients.Packets+u.Limited.Packets == packets
				})
			}
			for n := range uint64(10) { // a few at a time, so that no socket loses any
				for range 20 {
					c.channel(0x4000, packet)
					friend.WriteTo(packet, net.UDPAddrFromAddrPort(relayed))
				}
				await(40 * (n + 1))
			}
			// The packets of a quarter of a second pass, in both directions together.
			if passed := u.FromClients.Packets + u.ToClients.Packets; passed != 26 {
				t.Errorf("%d packets passed, want 26; %+v", passed, u)
			}
			if u.Peers[0].Limited != u.Limited || u.Dropped.Packets != 0 {
				t.Errorf("the packets that were not relayed are counted as %+v", u)
			}
			clock.add(time.Second)
			c.channel(0x4000, packet)
			before := u.FromClients.Packets
			await(401)
			if u.FromClients.Packets != before+1 {
				t.Error("a second later no packet passes")
			}
		})
	}
}

func TestAllocationsLastAtMostTenMinutes(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	for _, step := range []struct {
		name    string
		request *stun.Message
		want    uint32
	}{
		{"allocate", message(allocateRequest, overUDP, lifetime(3599)), 600},
		{"refresh", message(refreshRequest, lifetime(3599)), 600},
		{"refresh with 0", message(refreshRequest, lifetime(0)), 0},
	} {
		answer, code := c.request(step.request)
		got := value(answer, stun.AttrLifetime)
		if code != 0 || binary.BigEndian.Uint32(got) != step.want {
			t.Fatalf("%s: %d, lifetime %x, want %d", step.name, code, got, step.want)
		}
		checkIntegrity(t, c, answer)
	}
	waittest.Until(t, "the allocation has ended", func() bool { return r.Allocations() == 0 })
}

// checkIntegrity checks the MAC of an answer.
func checkIntegrity(t *testing.T, c *raw, m *stun.Message) {
	t.Helper()
	if err := keyOf(c.login).Check(m); err != nil {
		t.Errorf("%s: %v", m, err)
	}
}

func TestAllocationEndsWithoutRefresh(t *testing.T) {
	r := startWith(t, nil, func(r *Relay) { r.table.lifetime = 300 * time.Millisecond })
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	waittest.Until(t, "the allocation has ended", func() bool { return r.Allocations() == 0 })
	waittest.Until(t, "the client allocates again", func() bool {
		_, code := c.allocate()
		return code == 0
	})
}

func TestOnlyTheOwnerUsesAnAllocation(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	c.login = r.Issue(peer(2))
	if _, code := c.request(message(refreshRequest)); code != stun.CodeWrongCredentials {
		t.Errorf("refresh with the credentials of another peer: %d, want 441", code)
	}
	if code := c.permit(netip.MustParseAddrPort("8.8.8.8:53")); code != stun.CodeWrongCredentials {
		t.Errorf("permission with the credentials of another peer: %d, want 441", code)
	}
}

func TestRefusalsHaveAnErrorCode(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	private := netip.MustParseAddrPort("10.0.0.1:53")
	if code := c.permit(private); code != stun.CodeForbidden {
		t.Errorf("permission: %d, want 403", code)
	}
	if code := c.bind(0x4000, private); code != stun.CodeForbidden {
		t.Errorf("channel: %d, want 403", code)
	}
	answer, code := c.request(message(createPermissionRequest))
	if code != stun.CodeBadRequest {
		t.Errorf("permission without an address: %d, want 400", code)
	}
	checkIntegrity(t, c, answer)
}

// TestAllocationEndsWithItsTCPClient would fail if the allocation lasted until a timeout, because those are longer than
// the test waits.
func TestAllocationEndsWithItsTCPClient(t *testing.T) {
	if useTimeout < 2*waittest.Timeout || maxLifetime < 2*waittest.Timeout {
		t.Fatal("the test cannot tell a closed connection from a timeout")
	}
	r := start(t, nil)
	c := newRaw(t, r, "tcp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	c.conn.Close()
	waittest.Until(t, "the allocation has ended", func() bool { return r.Allocations() == 0 })
}

// TestRevokedPeerGetsNoAllocation revokes a peer between the authentication of its request and the allocation.
func TestRevokedPeerGetsNoAllocation(t *testing.T) {
	r := start(t, nil)
	var c control
	c.turn = &turnSocket{relay: r, allocations: map[netip.AddrPort]*allocation{}}
	login := r.Issue(peer(1))
	from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}
	if _, ok := c.authenticate(login.Username, realm, from); !ok {
		t.Fatal("valid credentials are refused")
	}
	r.Revoke(peer(1), time.Now().Add(time.Second))
	if _, _, err := c.AllocatePacketConn("udp4", 0); err == nil {
		t.Error("a revoked peer has an allocation")
	}
}
