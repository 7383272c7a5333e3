package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestUsageCountsPacketsByPeer(t *testing.T) {
	r := start(t, func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} })
	friend, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer friend.Close()
	stranger, err := net.ListenPacket("udp4", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	one, _ := client(t, r, "udp", r.Issue(peer(1)))
	two, conn := client(t, r, "tcp", r.Issue(peer(2)))
	a := allocate(t, one)
	allocate(t, two)

	hello := []byte("hello")
	if _, err := a.WriteTo(hello, friend.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	friend.SetReadDeadline(time.Now().Add(waittest.Timeout))
	if _, _, err := friend.ReadFrom(buf); err != nil {
		t.Fatal(err)
	}
	stranger.WriteTo([]byte("spam"), a.LocalAddr())
	friend.WriteTo([]byte("hi there"), a.LocalAddr())
	a.SetReadDeadline(time.Now().Add(waittest.Timeout))
	if n, _, err := a.ReadFrom(buf); err != nil || string(buf[:n]) != "hi there" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	want := Traffic{FromClients: Flow{1, 5}, ToClients: Flow{1, 8}, Dropped: Flow{1, 4}}
	u := r.Usage()
	if u.Traffic != want || u.Allocations != 2 || u.Allocated != 2 || u.Streams != 1 || len(u.Peers) != 2 {
		t.Fatalf("totals %+v; want %+v of 2 allocations and peers, one over TCP", u, want)
	}
	if p := u.Peers[0]; p.Peer != peer(1) || p.Traffic != want || p.Allocations != 1 {
		t.Errorf("the first peer: %+v", p)
	}
	if p := u.Peers[1]; p.Peer != peer(2) || p.Traffic != (Traffic{}) || p.Allocations != 1 {
		t.Errorf("the second peer: %+v", p)
	}

	// The figures outlive the allocations.
	conn.Close()
	r.Revoke(peer(1), time.Now())
	waittest.Until(t, "no allocation is left", func() bool {
		u = r.Usage()
		return u.Allocations == 0 && u.Streams == 0
	})
	if u.Traffic != want || len(u.Peers) != 2 || u.Peers[0].Traffic != want || u.Peers[0].Allocations != 0 {
		t.Errorf("after the end: %+v", u)
	}
}

func TestFiguresOfIdlePeersAreBounded(t *testing.T) {
	clock := newClock()
	table := &allocationTable{accounts: map[ident.PeerID]*account{}, now: clock.now}
	for n := range 3 * maxAccounts {
		clock.add(time.Millisecond)
		id := ident.PeerID{byte(n >> 16), byte(n >> 8), byte(n)}
		table.account(id)
		if len(table.accounts) > maxAccounts+1 {
			t.Fatalf("%d accounts, want at most %d", len(table.accounts), maxAccounts+1)
		}
		if table.accounts[id] == nil {
			t.Fatal("the newest account was dropped")
		}
	}
}
