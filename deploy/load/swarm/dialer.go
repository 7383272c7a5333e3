package swarm

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// dialer opens TLS connections to the hosts of one rendezvous.
type dialer struct {
	// Immutable after New.
	join    api.JoinLink
	hosts   []string
	sources netip.Prefix
	tls     *tls.Config

	dialed  atomic.Uint64 // chooses the next host
	sourced atomic.Uint64 // chooses the next source address
}

// source returns the next source address, or the zero Addr if the system chooses.
func (d *dialer) source() netip.Addr {
	if !d.sources.IsValid() {
		return netip.Addr{}
	}
	raw := d.sources.Addr().AsSlice()
	host := len(raw)*8 - d.sources.Bits()
	n := d.sourced.Add(1)
	if host < 64 {
		first, last := uint64(1), uint64(1)<<host-2 // without the network's and the broadcast address
		if host < 2 {
			first, last = 0, uint64(1)<<host-1
		}
		n = first + n%(last-first+1)
	}
	for i := len(raw) - 1; i >= 0 && n > 0; i-- {
		raw[i] |= byte(n)
		n >>= 8
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// anyHost stands for all hosts in turn.
const anyHost = -1

// dial opens a TLS connection from a source to a host or, with anyHost, to the next host.
func (d *dialer) dial(ctx context.Context, source netip.Addr, host int, alpn string,
	cache tls.ClientSessionCache,
) (*tls.Conn, int, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	tries := 1
	if host == anyHost {
		host, tries = int((d.dialed.Add(1)-1)%uint64(len(d.hosts))), len(d.hosts)
	}
	tcp := net.Dialer{KeepAlive: -1}
	if source.IsValid() {
		tcp.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	raw, err := tcp.DialContext(ctx, "tcp", d.hosts[host])
	for ; err != nil && tries > 1; tries-- {
		host = (host + 1) % len(d.hosts)
		raw, err = tcp.DialContext(ctx, "tcp", d.hosts[host])
	}
	if err != nil {
		return nil, host, fmt.Errorf("connect to the rendezvous: %w", err)
	}
	config := d.tls.Clone()
	config.NextProtos = []string{alpn}
	config.ClientSessionCache = cache
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, host, fmt.Errorf("TLS with the rendezvous: %w", err)
	}
	return conn, host, nil
}
