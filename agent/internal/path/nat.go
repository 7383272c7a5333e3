package path

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// Queries to STUN servers are repeated, because packets may be lost. At most 8
// packets of 48 bytes are sent.
const (
	queryInterval = 200 * time.Millisecond
	queryTimeout  = 1500 * time.Millisecond
)

var errNoAnswer = errors.New("no response")

// query returns the public address of the socket, as a STUN server (RFC 8489) sees
// it.
func (m *mux) query(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, queryTimeout, errNoAnswer)
	defer cancel()
	req, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.Fingerprint)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("STUN request: %w", err)
	}
	answer := make(chan netip.AddrPort, 1)
	m.mu.Lock()
	m.queries[req.TransactionID] = answer
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.queries, req.TransactionID)
		m.mu.Unlock()
	}()
	repeat := time.NewTicker(queryInterval)
	defer repeat.Stop()
	var sendErr error
	for {
		// A failed send counts as a lost packet: the route may come back.
		if _, err := m.conn.WriteTo(req.Raw, net.UDPAddrFromAddrPort(server)); err != nil {
			sendErr = fmt.Errorf("query STUN server %v: %w", server, err)
		}
		select {
		case a := <-answer:
			return a, nil
		case <-repeat.C:
		case <-ctx.Done():
			if sendErr != nil {
				return netip.AddrPort{}, sendErr
			}
			return netip.AddrPort{}, fmt.Errorf("query STUN server %v: %w", server, context.Cause(ctx))
		}
	}
}

// ErrNoSTUN is the error of a Probe without a STUN server.
var ErrNoSTUN = errors.New("no STUN server is known: connect to a rendezvous that offers one")

// maxProbed bounds the servers that Probe queries, at two ports each.
const maxProbed = 3

// Probe returns the NAT between the socket and the internet. It queries each STUN
// server at two ports, P and P+1. It takes one round trip, or 1.5 s if a port does
// not respond. Later attempts use the result. The caller should call Probe again
// when the network has changed. Its errors are [ErrNoSTUN] and those of ctx.
func (p *Paths) Probe(ctx context.Context, servers []Server) (call.NAT, error) {
	addrs, err := p.stunAddrs(ctx, servers, maxProbed)
	if err != nil {
		return call.NAT{}, err
	}
	if len(addrs) == 0 {
		return call.NAT{}, ErrNoSTUN
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan netip.AddrPort)
	for _, a := range addrs {
		for _, port := range []uint16{a.Port(), a.Port() + 1} {
			go func() {
				seen, err := p.mux.query(ctx, netip.AddrPortFrom(a.Addr(), port))
				if err != nil {
					p.log.Debug("no mapping from a STUN server", "server", a.Addr(), "port", port, "err", err)
				}
				answers <- seen
			}()
		}
	}
	nat, responses := call.NAT{}, 0
	for range 2 * len(addrs) {
		seen := <-answers
		switch {
		case !seen.IsValid() || responses == 2:
		case responses == 0:
			nat.Public, responses = seen, 1
		default:
			nat.Mapping, responses = p.mapping(nat.Public, seen), 2
			cancel() // the other responses add nothing
		}
	}
	if responses < 2 && ctx.Err() != nil {
		return call.NAT{}, fmt.Errorf("probe the NAT: %w", context.Cause(ctx))
	}
	nat.UDPBlocked = responses == 0
	if responses == 1 && p.isOwn(nat.Public) {
		nat.Mapping = call.MappingNone
	}
	p.mu.Lock()
	p.nat = nat
	p.mu.Unlock()
	return nat, nil
}

// mapping returns the mapping of the NAT. a and b are the public addresses that two
// servers saw.
func (p *Paths) mapping(a, b netip.AddrPort) call.Mapping {
	switch {
	case a != b:
		return call.MappingDependent
	case p.isOwn(a):
		return call.MappingNone
	}
	return call.MappingIndependent
}
