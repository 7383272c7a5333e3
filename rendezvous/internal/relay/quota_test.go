package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

func TestAThousandAllocatesMakeAFewAllocations(t *testing.T) {
	r := start(t, nil)
	login := r.Issue(peer(1))
	codes := map[int]int{}
	for range 1000 {
		c := newRaw(t, r, "udp", login)
		_, code := c.allocate()
		codes[code]++
		if code != 0 {
			c.conn.Close()
		}
	}
	if codes[0] != 8 || codes[486] != 992 || r.Allocations() != 8 {
		t.Errorf("answers %v and %d allocations, want 8 granted and the others refused with 486", codes, r.Allocations())
	}
	if u := r.Usage(); u.Refused != 992 || u.Allocated != 8 {
		t.Errorf("%d refused and %d made are counted", u.Refused, u.Allocated)
	}
	if _, code := newRaw(t, r, "udp", r.Issue(peer(2))).allocate(); code != 0 {
		t.Errorf("another peer is refused: %d", code)
	}
}

func TestAllPeersTogetherHaveABoundedNumberOfAllocations(t *testing.T) {
	r := start(t, func(c *Config) { c.Most = 3 })
	for seed := range byte(3) {
		if _, code := newRaw(t, r, "udp", r.Issue(peer(seed))).allocate(); code != 0 {
			t.Fatalf("allocation %d: %d", seed, code)
		}
	}
	if _, code := newRaw(t, r, "udp", r.Issue(peer(9))).allocate(); code != 508 {
		t.Errorf("one too many: %d, want 508", code)
	}
}

func TestAnAllocationHasAFewPermissions(t *testing.T) {
	at := newClock()
	r := start(t, func(c *Config) { c.Now = at.now })
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	of := func(n int) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, byte(n)}), 9) }
	for n := range maxPermissions {
		if code := c.permit(of(n)); code != 0 {
			t.Fatalf("permission %d: %d", n, code)
		}
	}
	if code := c.permit(of(maxPermissions)); code != 508 {
		t.Errorf("one too many: %d, want 508", code)
	}
	if code := c.bind(0x4000, of(maxPermissions)); code != 508 {
		t.Errorf("a channel to one too many: %d, want 508", code)
	}
	if code := c.permit(of(0)); code != 0 {
		t.Errorf("one of them once more: %d", code)
	}
	at.add(permissionKept)
	if code := c.permit(of(maxPermissions)); code != 0 {
		t.Errorf("when the others are over: %d", code)
	}
}

func TestABudgetIsHeldWithinASecond(t *testing.T) {
	for name, c := range map[string]struct {
		rate  Rate
		bytes int
		want  int // packets in the first second, and in each after
	}{
		"bytes":               {Rate{Bytes: 100_000}, 1000, 100},
		"packets":             {Rate{Packets: 200}, 1000, 200},
		"whichever is less":   {Rate{Bytes: 100_000, Packets: 200}, 1000, 100},
		"small packets":       {Rate{Bytes: 100_000, Packets: 200}, 10, 200},
		"more than a packet":  {Rate{Bytes: 500}, 1000, 1},
		"beyond any machine":  {Rate{Bytes: 1e12}, 1400, 1000},
		"neither is no bound": {Rate{}, 1400, 1000},
	} {
		b := &budget{rate: c.rate}
		now := time.Now().UnixNano()
		passed := 0
		for range 1000 {
			now += int64(time.Millisecond)
			if b.take(now, c.bytes) {
				passed++
			}
		}
		first := c.want + c.want/4 + 1 // what passes at once
		if passed < min(c.want, 1000) || passed > first {
			t.Errorf("%s: %d packets passed in the first second, want %d to %d", name, passed, c.want, first)
		}
		second := 0
		for range 1000 {
			now += int64(time.Millisecond)
			if b.take(now, c.bytes) {
				second++
			}
		}
		if second < c.want/2 || second > c.want+1 {
			t.Errorf("%s: %d packets passed in the second second, want %d", name, second, c.want)
		}
	}
}

// TestARateBoundsWhatIsRelayed sends as fast as it can, in both directions.
func TestARateBoundsWhatIsRelayed(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"of a peer": func(c *Config) { c.PeerRate = Rate{Packets: 100} },
		"of all":    func(c *Config) { c.Rate = Rate{Bytes: 10_000} },
	} {
		t.Run(name, func(t *testing.T) {
			at := newClock()
			r := start(t, func(c *Config) {
				change(c)
				c.Now, c.Allow = at.now, []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
			})
			friend, err := net.ListenPacket("udp4", "127.0.0.2:0")
			if err != nil {
				t.Fatal(err)
			}
			defer friend.Close()
			to := friend.LocalAddr().(*net.UDPAddr).AddrPort()
			c := newRaw(t, r, "udp", r.Issue(peer(1)))
			relayed, code := c.allocate()
			if code != 0 || c.bind(0x4000, to) != 0 {
				t.Fatal("no allocation or no channel")
			}
			packet := make([]byte, 100)
			for range 200 {
				c.channel(0x4000, packet)
			}
			relayedTo := net.UDPAddrFromAddrPort(relayed)
			for range 200 {
				friend.WriteTo(packet, relayedTo)
			}
			// A quarter of a second's worth passes, of both directions together.
			var u Usage
			waittest.Until(t, "all were relayed or counted", func() bool {
				u = r.Usage()
				return u.FromClients.Packets+u.ToClients.Packets+u.Limited.Packets == 400
			})
			if passed := u.FromClients.Packets + u.ToClients.Packets; passed != 26 || u.Peers[0].Limited != u.Limited || u.Dropped.Packets != 0 {
				t.Errorf("%d packets passed, want 26; %+v", passed, u)
			}
			at.add(time.Second)
			c.channel(0x4000, packet)
			waittest.Until(t, "a second later packets pass again", func() bool { return r.Usage().FromClients.Packets > u.FromClients.Packets })
		})
	}
}

func TestAllocationsLastTenMinutesAtMost(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	hour := binary.BigEndian.AppendUint32(nil, 3599)
	answer, code := c.request(begin(allocateRequest).add(attrTransport, []byte{17, 0, 0, 0}).add(attrLifetime, hour))
	if code != 0 || binary.BigEndian.Uint32(answer.find(attrLifetime)) != 600 {
		t.Fatalf("allocate: %d, %x", code, answer.find(attrLifetime))
	}
	checkIntegrity(t, c, answer)
	if answer, code := c.request(begin(refreshRequest).add(attrLifetime, hour)); code != 0 || binary.BigEndian.Uint32(answer.find(attrLifetime)) != 600 {
		t.Errorf("refresh: %d, %x", code, answer.find(attrLifetime))
	} else {
		checkIntegrity(t, c, answer)
	}
	if answer, code := c.request(begin(refreshRequest).add(attrLifetime, make([]byte, 4))); code != 0 || binary.BigEndian.Uint32(answer.find(attrLifetime)) != 0 {
		t.Errorf("refresh with 0: %d, %x", code, answer.find(attrLifetime))
	}
	waittest.Until(t, "the allocation is given back", func() bool { return r.Allocations() == 0 })
}

// checkIntegrity checks the MAC of an answer, which is its last attribute.
func checkIntegrity(t *testing.T, c *raw, m message) {
	t.Helper()
	end := len(m) - channelHeader - integrity
	again := append(message(nil), m[:end]...).addIntegrity(keyOf(c.login))
	if string(again) != string(m) {
		t.Errorf("the MAC of %x is wrong", []byte(m))
	}
}

func TestAnAllocationThatIsNotRefreshedEnds(t *testing.T) {
	r := startWith(t, nil, func(r *Relay) { r.table.life = 300 * time.Millisecond })
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	waittest.Until(t, "it is gone", func() bool { return r.Allocations() == 0 })
	if _, code := c.allocate(); code != 0 {
		t.Errorf("another one: %d", code)
	}
}

func TestOnlyWhoAllocatedMayGoOn(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	c.login = r.Issue(peer(2))
	if _, code := c.request(begin(refreshRequest)); code != 441 {
		t.Errorf("another's credentials: %d, want 441", code)
	}
	if code := c.permit(netip.MustParseAddrPort("8.8.8.8:53")); code != 441 {
		t.Errorf("another's credentials for a permission: %d, want 441", code)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	private := netip.MustParseAddrPort("10.0.0.1:53")
	if code := c.permit(private); code != 403 {
		t.Errorf("permission: %d, want 403", code)
	}
	if code := c.bind(0x4000, private); code != 403 {
		t.Errorf("channel: %d, want 403", code)
	}
	answer, code := c.request(begin(createPermissionRequest))
	if code != 400 {
		t.Errorf("permission for nobody: %d, want 400", code)
	}
	checkIntegrity(t, c, answer)
}

func TestAnAllocationLeavesWithItsTCPClientWithinASecond(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "tcp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	c.conn.Close()
	left := time.Now()
	waittest.Until(t, "the allocation is gone", func() bool { return r.Allocations() == 0 })
	if took := time.Since(left); took > time.Second {
		t.Errorf("it took %s", took)
	}
}
