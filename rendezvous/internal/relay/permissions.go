package relay

import (
	"maps"
	"net/netip"
	"sync"
	"time"
)

// Bounds of permissions and channels.
const (
	maxPermissions = 64               // addresses of one allocation
	maxChannels    = 256              // of one allocation
	permissionTTL  = 10 * time.Minute // as long as that of a channel; RFC 5766 section 8 has half of it
	channelTTL     = 10 * time.Minute // RFC 5766 section 11.2
)

// permissions holds the addresses that the client of one allocation may exchange packets with, and its channels.
// Moments are in unix nanoseconds.
type permissions struct {
	mu        sync.Mutex
	addresses map[netip.Addr]permission  // guarded by mu
	channels  map[uint16]channel         // guarded by mu
	byPeer    map[netip.AddrPort]channel // guarded by mu
}

// permission allows packets between a client and an address.
type permission struct {
	until     int64 // unix nanoseconds
	relayOnly bool  // only to the ports of relays
}

// channel is a number that a client uses for a peer (RFC 5766 section 11).
type channel struct {
	number uint16
	peer   netip.AddrPort
	until  int64 // unix nanoseconds
}

func newPermissions() permissions {
	return permissions{
		addresses: map[netip.Addr]permission{},
		channels:  map[uint16]channel{}, byPeer: map[netip.AddrPort]channel{},
	}
}

// permit allows packets to and from an address for permissionTTL. It reports false if there are too many addresses.
func (p *permissions) permit(ip netip.Addr, relayOnly bool, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.addresses[ip]; !ok && len(p.addresses) >= maxPermissions {
		maps.DeleteFunc(p.addresses, func(_ netip.Addr, old permission) bool { return old.until <= now.UnixNano() })
		if len(p.addresses) >= maxPermissions {
			return false
		}
	}
	p.addresses[ip] = permission{until: now.Add(permissionTTL).UnixNano(), relayOnly: relayOnly}
	return true
}

// bind creates or renews a channel, which the TURN server has checked.
func (p *permissions) bind(ch channel, now time.Time) {
	ch.until = now.Add(channelTTL).UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.channels) >= maxChannels {
		expired := func(ch channel) bool { return ch.until <= now.UnixNano() }
		maps.DeleteFunc(p.channels, func(_ uint16, ch channel) bool { return expired(ch) })
		maps.DeleteFunc(p.byPeer, func(_ netip.AddrPort, ch channel) bool { return expired(ch) })
	}
	if _, known := p.channels[ch.number]; !known && len(p.channels) >= maxChannels {
		return
	}
	p.channels[ch.number], p.byPeer[ch.peer] = ch, ch
}

// lookup returns the permission for a peer, whether there is one, and the number of the peer's channel or 0.
func (p *permissions) lookup(peer netip.AddrPort, now int64) (found permission, number uint16, ok bool) {
	p.mu.Lock()
	found, ok = p.addresses[peer.Addr()]
	ch := p.byPeer[peer]
	p.mu.Unlock()
	if ch.until > now {
		number = ch.number
	}
	return found, number, ok && now < found.until
}

// peerOf returns the peer of a channel.
func (p *permissions) peerOf(number uint16, now int64) (netip.AddrPort, bool) {
	p.mu.Lock()
	ch := p.channels[number]
	p.mu.Unlock()
	return ch.peer, ch.until > now
}
