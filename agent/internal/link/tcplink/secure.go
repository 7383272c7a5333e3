package tcplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// alpn returns the ALPN name (RFC 7301) of the mode. A new format of the bytes on
// the connection needs a new name.
func (m Mode) alpn() string {
	if m == Plain {
		return "easyfind-plain/1"
	}
	return "easyfind-tcp/1"
}

// side is the part that a peer plays on a connection.
type side string

const (
	sideDialer   side = "dialer"
	sideAcceptor side = "acceptor"
)

func (s side) other() side {
	if s == sideDialer {
		return sideAcceptor
	}
	return sideDialer
}

// security authenticates the peers on the connections of one dialer or listener.
type security struct {
	mode  Mode
	side  side
	tls   *tls.Config
	trust func(ident.PeerID) error // called after the handshake
}

// newSecurity returns the security of a side in a mode. A nil error from trust
// accepts a peer.
func newSecurity(mode Mode, me side, key ident.Key, trust func(ident.PeerID) error) (*security, error) {
	during, after := trust, func(ident.PeerID) error { return nil }
	if mode == Plain && me == sideAcceptor {
		// During the handshake crypto/tls asks before the dialer has proved its
		// key; see the package comment.
		during, after = after, during
	}
	cfg, err := ident.MutualTLS(key, mode.alpn(), during)
	if err != nil {
		return nil, err
	}
	return &security{mode: mode, side: me, tls: cfg, trust: after}, nil
}

// secure authenticates the peer and returns the connection that carries the
// link's records.
func (s *security) secure(ctx context.Context, raw net.Conn) (net.Conn, ident.PeerID, error) {
	if s.mode == Plain {
		return s.securePlain(ctx, raw)
	}
	conn, peer, err := s.handshake(ctx, raw)
	if err != nil {
		return nil, ident.PeerID{}, err
	}
	return conn, peer, nil
}

// handshake returns a TLS connection to a peer that has proved its key, that is
// trusted and that speaks the mode.
func (s *security) handshake(ctx context.Context, raw net.Conn) (*tls.Conn, ident.PeerID, error) {
	var conn *tls.Conn
	if s.side == sideDialer {
		conn = tls.Client(raw, s.tls)
	} else {
		conn = tls.Server(raw, s.tls)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, ident.PeerID{}, handshakeError(err)
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != s.mode.alpn() { // a peer may offer no name at all
		return nil, ident.PeerID{}, fmt.Errorf("handshake: the peer does not speak %s", s.mode.alpn())
	}
	peer, err := ident.PeerOf(state)
	if err != nil {
		return nil, ident.PeerID{}, err
	}
	if err := s.trust(peer); err != nil {
		return nil, ident.PeerID{}, fmt.Errorf("%w: %s: %w", ident.ErrUntrusted, peer.Short(), err)
	}
	return conn, peer, nil
}

// oldPlainHello is the beginning of the first message of a dialer of the first
// plain mode, which had a handshake of its own.
const oldPlainHello = "efpla"

// handshakeError adds to a failed handshake what a person can do about it.
func handshakeError(err error) error {
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(e.RecordHeader[:]) == oldPlainHello {
		return fmt.Errorf("handshake: the peer runs a version of EasyFind that is too old: update it: %w", err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the peer closed the connection during the handshake: %w", err)
	}
	return fmt.Errorf("handshake: %w", err)
}
