package quiclink

import (
	"errors"
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// sendDatagram sends a lossy frame as a QUIC datagram (RFC 9221). It blocks while the
// congestion controller permits no more packets and the engine's queue is full.
func (l *quicLink) sendDatagram(f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	b := append(f.AppendHeader(make([]byte, 0, tunnel.HeaderSize+len(f.Body))), f.Body...)
	err := l.conn.SendDatagram(b)
	if _, tooLarge := errors.AsType[*datagramTooLargeError](err); tooLarge {
		return nil // lost, as on a path with a smaller MTU
	}
	if err != nil {
		return l.endError(err)
	}
	return nil
}

// runDatagrams delivers lossy frames until the connection ends. It returns an error if
// the link must end for another reason.
func (l *quicLink) runDatagrams(deliver func(tunnel.Frame) error) error {
	for {
		b, err := l.conn.ReceiveDatagram(l.conn.Context())
		if err != nil {
			return nil // the connection has ended, which has an error of its own
		}
		f, err := tunnel.DecodeFrame(b)
		switch {
		case err != nil:
			return err
		case !f.Kind.Lossy():
			return fmt.Errorf("%w: kind %d in a datagram", tunnel.ErrMalformed, f.Kind)
		}
		if err := deliver(f); err != nil {
			return err
		}
	}
}
