package relay

import (
	"errors"
	"net"
	"net/netip"
)

// guarded is a door's connection as its TURN server sees it: requests, and Send
// indications. Malformed messages are dropped, Binding requests answered, channel
// data relayed, answers to who has not authenticated limited, and the end is
// told.
type guarded struct {
	socket
	clients clients
	door    *door
	answers *limiter
	at      place         // if the relay has a discovery
	ended   chan struct{} // closed when the TURN server has been told of the end
}

// ReadFrom returns one message. Before it waits, what the ones before have
// brought about is sent. Errors are final.
func (g *guarded) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		waits := !g.clients.ready()
		if waits {
			g.door.flush()
		}
		data, from, err := g.clients.next()
		if waits {
			g.door.read()
		}
		if err != nil {
			g.door.flush()
			close(g.ended) // the TURN server reads no more after an error
			return 0, nil, err
		}
		switch {
		case isChannelData(data):
			g.door.relayChannel(data, from)
			continue
		case !wellFormed(data) || len(data) > len(p):
			continue
		case message(data).kind() == bindingRequest:
			g.bind(data, from)
			continue
		}
		g.door.begin(data)
		return copy(p, data), g.clients.address(from), nil
	}
}

// bind answers a Binding request.
func (g *guarded) bind(request message, from netip.AddrPort) {
	d := g.door.relay.discovery
	if _, stream := g.clients.(*framed); stream {
		d = nil
	}
	r := d.bind(request, from, g.at)
	if !g.answers.take(r.to.Addr()) {
		return
	}
	if d != nil && r.from != g.at {
		d.sockets[r.from.ip][r.from.port].WriteToUDPAddrPort(r.message, r.to) // or is lost, as datagrams are
		return
	}
	g.clients.answer(r.message, r.to)
}

// WriteTo sends an answer to a client.
func (g *guarded) WriteTo(p []byte, to net.Addr) (int, error) {
	client, ok := addrPort(to)
	if !ok {
		return 0, errAddress
	}
	answer := g.door.answer(p)
	if unauthenticated(answer) && !g.answers.take(client.Addr()) {
		return len(p), nil
	}
	return len(p), g.clients.answer(answer, client)
}

var errAddress = errors.New("neither a UDP nor a TCP address")

// unauthenticated reports whether p is an answer that anybody gets who asks: a
// Binding response or an error (RFC 8489 section 5).
func unauthenticated(p []byte) bool {
	if len(p) < 2 || !isSTUN(p) {
		return false
	}
	kind := message(p).kind()
	return kind == bindingSuccess || kind&classMask == classError
}
