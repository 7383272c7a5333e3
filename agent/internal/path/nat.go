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

// How a STUN server is asked. The first question may be lost, and so may its
// answer; one every 200 ms costs 8 packets of 48 bytes at most.
const (
	askEvery = 200 * time.Millisecond
	askFor   = 1500 * time.Millisecond
)

var errNoAnswer = errors.New("no answer")

// ask asks one STUN server (RFC 8489) for the public address of the socket.
func (m *mux) ask(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askFor, errNoAnswer)
	defer cancel()
	req, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.Fingerprint)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("STUN request: %w", err)
	}
	answer := make(chan netip.AddrPort, 1)
	m.mu.Lock()
	m.asked[req.TransactionID] = answer
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.asked, req.TransactionID)
		m.mu.Unlock()
	}()
	again := time.NewTicker(askEvery)
	defer again.Stop()
	var sendErr error
	for {
		// A failed send is as good as a lost packet: routes come and go.
		if _, err := m.conn.WriteTo(req.Raw, net.UDPAddrFromAddrPort(server)); err != nil {
			sendErr = fmt.Errorf("ask STUN server %v: %w", server, err)
		}
		select {
		case a := <-answer:
			return a, nil
		case <-again.C:
		case <-ctx.Done():
			if sendErr != nil {
				return netip.AddrPort{}, sendErr
			}
			return netip.AddrPort{}, fmt.Errorf("ask STUN server %v: %w", server, context.Cause(ctx))
		}
	}
}

// ErrNoSTUN says that there was nobody to ask.
var ErrNoSTUN = errors.New("no STUN server is known: connect to a rendezvous that offers one")

// maxProbed bounds the servers that Probe asks, at two ports each.
const maxProbed = 3

// Probe finds out what NAT stands before the socket, by asking the STUN servers
// at two ports each, P and P+1. It takes one round trip, and 1.5 s where a port
// does not answer. Later Attempts use what it found; ask again when the network
// has changed. Its errors are [ErrNoSTUN] and the context's.
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
				seen, err := p.mux.ask(ctx, netip.AddrPortFrom(a.Addr(), port))
				if err != nil {
					p.log.Debug("no mapping from STUN server", "server", a.Addr(), "port", port, "error", err)
				}
				answers <- seen
			}()
		}
	}
	nat, heard := call.NAT{}, 0
	for range 2 * len(addrs) {
		seen := <-answers
		switch {
		case !seen.IsValid() || heard == 2:
		case heard == 0:
			nat.Public, heard = seen, 1
		default:
			nat.Mapping, heard = p.judge(nat.Public, seen), 2
			cancel() // the other answers add nothing
		}
	}
	if heard < 2 && ctx.Err() != nil {
		return call.NAT{}, fmt.Errorf("probe the NAT: %w", context.Cause(ctx))
	}
	nat.UDPBlocked = heard == 0
	if heard == 1 && p.isOwn(nat.Public) {
		nat.Mapping = call.MappingNone
	}
	p.mu.Lock()
	p.nat = nat
	p.mu.Unlock()
	return nat, nil
}

// judge compares what two servers saw.
func (p *Paths) judge(a, b netip.AddrPort) call.Mapping {
	switch {
	case a != b:
		return call.MappingDependent
	case p.isOwn(a):
		return call.MappingNone
	}
	return call.MappingIndependent
}
