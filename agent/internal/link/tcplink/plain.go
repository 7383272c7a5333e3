package tcplink

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// switchText is the content of each side's last TLS record in plain mode; see
// the package comment.
const switchText = "plain chunks follow"

// exporterLabel is followed by the side that sends the chunks.
const exporterLabel = "EXPERIMENTAL easyfind plain "

// securePlain authenticates the peer by TLS and returns a connection that
// carries authenticated chunks without encryption.
func (s *security) securePlain(ctx context.Context, raw net.Conn) (net.Conn, ident.PeerID, error) {
	records := &recordReader{Conn: raw}
	conn, peer, err := s.handshake(ctx, records)
	if err != nil {
		return nil, ident.PeerID{}, err
	}
	state := conn.ConnectionState()
	write, err := state.ExportKeyingMaterial(exporterLabel+string(s.side), nil, keySize)
	if err != nil {
		return nil, ident.PeerID{}, fmt.Errorf("derive the key for sending: %w", err)
	}
	read, err := state.ExportKeyingMaterial(exporterLabel+string(s.side.other()), nil, keySize)
	if err != nil {
		return nil, ident.PeerID{}, fmt.Errorf("derive the key for receiving: %w", err)
	}
	chunks, err := newChunkConn(raw, read, write)
	if err != nil {
		return nil, ident.PeerID{}, err
	}
	if _, err := conn.Write([]byte(switchText)); err != nil {
		return nil, ident.PeerID{}, fmt.Errorf("handshake: %w", err)
	}
	records.closed = true
	chunks.begin = func() error { return readSwitch(conn) }
	return chunks, peer, nil
}

// readSwitch reads the peer's last TLS record and the TLS messages before it.
func readSwitch(conn *tls.Conn) error {
	b := make([]byte, len(switchText)+1) // one more, to notice a record that is too long
	n, err := conn.Read(b)
	if err != nil {
		return err
	}
	if string(b[:n]) != switchText {
		return fmt.Errorf("%w: a TLS record of %d bytes that does not switch to plain chunks", tunnel.ErrMalformed, n)
	}
	return nil
}

// tlsHeaderSize is the size of the header of a TLS record: type 1 │ version 2 │
// length 2 (RFC 8446 section 5.1).
const tlsHeaderSize = 5

// recordReader is the connection under a TLS layer that is used only for the
// handshake. Its Read returns bytes of one TLS record at most, so the TLS layer does
// not read bytes that come after its last record.
type recordReader struct {
	net.Conn
	header  [tlsHeaderSize]byte
	got     int  // bytes of header that were read
	missing int  // bytes of the record's body that were not read yet
	closed  bool // whether the TLS layer may no longer write
}

// Read reads up to the end of the header or of the record.
func (r *recordReader) Read(b []byte) (int, error) {
	if r.got == tlsHeaderSize && r.missing == 0 {
		r.got = 0
	}
	if r.got == tlsHeaderSize {
		n, err := r.Conn.Read(b[:min(len(b), r.missing)])
		r.missing -= n
		return n, err
	}
	n, err := r.Conn.Read(b[:min(len(b), tlsHeaderSize-r.got)])
	r.got += copy(r.header[r.got:], b[:n])
	if r.got == tlsHeaderSize {
		r.missing = int(binary.BigEndian.Uint16(r.header[3:]))
	}
	return n, err
}

// errSwitched is the error of a TLS layer that writes after the switch.
var errSwitched = errors.New("TLS record after the switch to plain chunks")

// Write returns an error after the switch.
func (r *recordReader) Write(b []byte) (int, error) {
	if r.closed {
		return 0, errSwitched
	}
	return r.Conn.Write(b)
}
