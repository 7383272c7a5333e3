package swarm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

var errDraining = errors.New("the instance of the rendezvous is stopping")

var errUnanswered = errors.New("the rendezvous does not answer pings any more")

// Connect connects peers, at most parallel at a time, and returns once all are
// connected. Until Close they stay connected: they reconnect when they lose their
// connections, without the limit of parallel.
func (s *Swarm) Connect(ctx context.Context, peers []*Peer, parallel int) error {
	s.mu.Lock()
	s.peers = append(s.peers, peers...)
	if !s.pinging {
		s.pinging = true
		s.living.Go(s.ping)
	}
	s.mu.Unlock()
	gate := make(chan struct{}, max(1, parallel))
	first := make(chan struct{}, len(peers))
	for _, p := range peers {
		s.living.Go(func() { p.live(gate, first) })
	}
	for n := range peers {
		select {
		case <-first:
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			return fmt.Errorf("%d of %d peers connected: %w", n, len(peers), errors.Join(context.Cause(ctx), s.lastErr))
		case <-s.life.Done():
			return errors.New("the swarm is closed")
		}
	}
	return nil
}

// live keeps a peer connected. The first attempt waits for the gate. live sends on first
// once the peer is connected.
func (p *Peer) live(gate chan struct{}, first chan<- struct{}) {
	s := p.swarm
	select {
	case gate <- struct{}{}:
	case <-s.life.Done():
		return
	}
	tried, entered := false, false
	p.keep(nil, nil, func(ok bool) {
		if !tried {
			<-gate
		}
		if ok && !entered {
			first <- struct{}{}
		}
		tried, entered = true, entered || ok
	})
}

// keep keeps a peer connected, starting with conn if it is not nil. It returns when the
// peer has moved to a connection that another keep serves. It calls tried after each
// attempt to connect.
func (p *Peer) keep(conn *tls.Conn, frames *signal.Reader, tried func(ok bool)) {
	s := p.swarm
	var retry signal.Backoff
	var err error
	began := time.Now()
	for s.life.Err() == nil {
		if conn == nil {
			began = time.Now()
			if conn, frames, err = p.open(); err == nil {
				p.enter(conn)
			}
			tried(err == nil)
		}
		if conn != nil {
			err = p.read(conn, frames)
			if moved := p.leave(conn); moved || s.life.Err() != nil {
				return
			}
		}
		s.mu.Lock()
		s.lastErr = err
		if conn != nil {
			s.reasons[reason(err)]++
		}
		s.mu.Unlock()
		s.log.Debug("a peer is not connected", "peer", p.ID.Short(), "reason", err)
		delay := time.NewTimer(retry.Next(conn != nil && (time.Since(began) > signal.SteadyAge ||
			errors.Is(err, errDraining))))
		select {
		case <-delay.C:
		case <-s.life.Done():
			delay.Stop()
		}
		conn = nil
	}
}

// succeed moves a peer to a connection to another instance, unless the old connection
// ends first.
func (p *Peer) succeed(old *tls.Conn) {
	s := p.swarm
	var retry signal.Backoff
	for s.life.Err() == nil && p.on(old) {
		conn, frames, err := p.open()
		if err == nil {
			if p.move(old, conn) {
				p.keep(conn, frames, func(bool) {})
			} else {
				conn.NetConn().Close()
			}
			return
		}
		delay := time.NewTimer(retry.Next(false))
		select {
		case <-delay.C:
		case <-s.life.Done():
			delay.Stop()
		}
	}
}

// on reports whether conn is the peer's connection.
func (p *Peer) on(conn *tls.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn == conn
}

// move replaces the peer's connection by conn. The old connection is read until the
// rendezvous ends it.
func (p *Peer) move(old, conn *tls.Conn) bool {
	s := p.swarm
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != old || s.life.Err() != nil {
		return false
	}
	p.conn, p.waits = conn, false
	old.SetReadDeadline(time.Now().Add(dialTimeout))
	s.moved.Add(1)
	return true
}

// reason returns the text of an error without the addresses that make it unique.
func reason(err error) string {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Op + ": " + network.Err.Error()
	}
	return err.Error()
}

// open opens a signalling connection and returns after its Welcome.
func (p *Peer) open() (*tls.Conn, *signal.Reader, error) {
	s := p.swarm
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-s.life.Done():
		return nil, nil, context.Cause(s.life)
	}
	conn, host, err := s.dial(s.life, p.source, p.only, signal.ALPN, p.cache)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(s.life, func() { conn.NetConn().Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(dialTimeout))
	frames := signal.NewReader(conn)
	if err := p.greet(conn, frames); err != nil {
		conn.NetConn().Close()
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	frames.Greeted()
	p.host.Store(int32(host))
	return conn, frames, nil
}

// greet answers the Challenge and waits for the Welcome.
func (p *Peer) greet(conn *tls.Conn, frames *signal.Reader) error {
	m, err := frames.FromRendezvous()
	if err != nil {
		return fmt.Errorf("greeting of the rendezvous: %w", err)
	}
	challenge, ok := m.(signal.Challenge)
	if !ok {
		return fmt.Errorf("%T in place of a Challenge", m)
	}
	bound, err := signal.BoundToTLS(conn.ConnectionState())
	if err != nil {
		return err
	}
	if _, err := conn.Write(signal.AppendFromPeer(nil, signal.NewHello(p.key, challenge, bound))); err != nil {
		return fmt.Errorf("write a Hello: %w", err)
	}
	switch m, err := frames.FromRendezvous(); m := m.(type) {
	case signal.Welcome:
		return nil
	case signal.Bye:
		return errors.New(m.Text)
	default:
		return fmt.Errorf("%T in place of a Welcome: %w", m, err)
	}
}

func (p *Peer) enter(conn *tls.Conn) {
	s := p.swarm
	p.mu.Lock()
	p.conn, p.waits = conn, false
	p.mu.Unlock()
	p.connected.Store(s.now())
	s.online.Add(1)
	if s.life.Err() != nil { // Close may have closed the connections already
		conn.NetConn().Close()
	}
}

// leave closes a connection. It reports whether the peer has moved to another one before;
// otherwise the connection counts as lost.
func (p *Peer) leave(conn *tls.Conn) (moved bool) {
	s := p.swarm
	conn.NetConn().Close()
	p.mu.Lock()
	cut := map[uint32]pendingMessage{}
	for id, o := range p.sent {
		if o.on == conn {
			cut[id] = o
			delete(p.sent, id)
		}
	}
	if moved = p.conn != conn; !moved {
		p.conn = nil
	}
	p.mu.Unlock()
	if !moved {
		p.lost.Store(s.now())
		s.online.Add(-1)
		s.lost.Add(1)
	}
	s.traffic.Load().cut(cut)
	return moved
}

// read handles frames from the rendezvous until the connection ends.
func (p *Peer) read(conn *tls.Conn, frames *signal.Reader) error {
	s := p.swarm
	for {
		m, err := frames.FromRendezvous()
		if err != nil {
			return fmt.Errorf("read from the rendezvous: %w", err)
		}
		switch m := m.(type) {
		case signal.Pong:
			p.mu.Lock()
			p.waits = false
			p.mu.Unlock()
		case signal.Deliver:
			s.traffic.Load().delivered(m.Body)
			if err := p.write(conn, signal.Got{Number: m.Number}); err != nil {
				return err
			}
		case signal.Move:
			s.living.Go(func() { p.succeed(conn) })
		case signal.Sent:
			s.traffic.Load().answered(p.answer(m.ID), 0)
		case signal.SendFailed:
			s.traffic.Load().answered(p.answer(m.ID), m.Code)
		case signal.Bye:
			if m.Code == signal.ByeDraining {
				return errDraining
			}
			return errors.New(m.Text)
		default:
			return fmt.Errorf("%T out of place", m)
		}
	}
}

var errNotConnected = errors.New("the peer is not connected")

// write sends one frame on a connection of the peer.
func (p *Peer) write(conn *tls.Conn, m signal.FromPeer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return writeTo(conn, m)
}

// writeLocked sends one frame on the peer's connection. mu must be held.
func (p *Peer) writeLocked(m signal.FromPeer) error {
	if p.conn == nil {
		return errNotConnected
	}
	return writeTo(p.conn, m)
}

func writeTo(conn *tls.Conn, m signal.FromPeer) error {
	conn.SetWriteDeadline(time.Now().Add(writeWait))
	if _, err := conn.Write(signal.AppendFromPeer(nil, m)); err != nil {
		conn.NetConn().Close()
		return fmt.Errorf("write to the rendezvous: %w", err)
	}
	return nil
}

// ping lets each peer ping once per signal.PingInterval until Close, and then closes all
// connections.
func (s *Swarm) ping() {
	const turn = 20 * time.Millisecond
	tick := time.NewTicker(turn)
	defer tick.Stop()
	next, due := 0, 0.0
	for {
		select {
		case <-s.life.Done():
			for _, p := range s.taken() {
				p.hangUp()
			}
			return
		case <-tick.C:
		}
		peers := s.taken()
		for due += float64(len(peers)) * float64(turn) / float64(signal.PingInterval); due >= 1; due-- {
			p := peers[next%len(peers)]
			next = (next + 1) % len(peers)
			if sent, err := p.ping(); errors.Is(err, errUnanswered) {
				s.silent.Add(1)
			} else if sent {
				s.pings.Add(1)
			}
		}
	}
}

// taken returns the peers that Connect has taken.
func (s *Swarm) taken() []*Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[:len(s.peers):len(s.peers)]
}

// ping sends a Ping. If the previous Ping is unanswered, it closes the connection instead.
func (p *Peer) ping() (sent bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.conn == nil:
		return false, nil
	case p.waits:
		p.conn.NetConn().Close()
		return false, errUnanswered
	}
	p.waits = true
	return true, p.writeLocked(signal.Ping{Token: [8]byte(p.ID[:8])})
}

// Drop cuts the connections of peers without a Bye, like a change of network. The peers
// reconnect.
func (s *Swarm) Drop(peers []*Peer) {
	for _, p := range peers {
		p.hangUp()
	}
}

func (p *Peer) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.NetConn().Close()
	}
}
