package tcplink

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	maxChunk = 64 << 10 // bytes of payload
	tagSize  = 16
	keySize  = 32 // AES-256
)

// sealer makes or checks the tags of one direction, each counter once.
type sealer struct {
	aead    cipher.AEAD
	counter uint64
}

func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key of sealed chunks: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("key of sealed chunks: %w", err)
	}
	return &sealer{aead: aead}, nil
}

// nonce is the next counter as a nonce of 12 bytes.
func (s *sealer) nonce() []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[4:], s.counter)
	s.counter++
	return n[:]
}

// tag appends the tag of a chunk (length and payload). GCM with nothing to
// encrypt is GMAC (NIST SP 800-38D section 3).
func (s *sealer) tag(to, chunk []byte) []byte { return s.aead.Seal(to, s.nonce(), nil, chunk) }

// check reports whether the tag is the next chunk's.
func (s *sealer) check(tag, chunk []byte) bool {
	_, err := s.aead.Open(nil, s.nonce(), tag, chunk)
	return err == nil
}

// sealedConn is a connection whose bytes travel in sealed chunks.
type sealedConn struct {
	net.Conn

	// Owned by the reader.
	open   *sealer
	in     []byte // buffer of a chunk: length, payload, tag
	unread bytes.Reader
	broken error // what ended reading

	writing sync.Mutex
	seal    *sealer // guarded by writing
	out     []byte  // guarded by writing
}

func newSealedConn(conn net.Conn, readKey, writeKey []byte) (*sealedConn, error) {
	open, err := newSealer(readKey)
	if err != nil {
		return nil, err
	}
	seal, err := newSealer(writeKey)
	if err != nil {
		return nil, err
	}
	return &sealedConn{Conn: conn, open: open, seal: seal}, nil
}

// Write sends all of b in as many chunks as it takes. A chunk is built in one
// buffer, so that it leaves in one call and the tag is made of what leaves.
func (c *sealedConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	done := 0
	for len(b) > 0 {
		n := min(len(b), maxChunk)
		c.out = binary.BigEndian.AppendUint32(c.out[:0], uint32(n))
		c.out = append(c.out, b[:n]...)
		c.out = c.seal.tag(c.out, c.out)
		if _, err := c.Conn.Write(c.out); err != nil {
			return done, err
		}
		done, b = done+n, b[n:]
	}
	return done, nil
}

// Read returns bytes of chunks that have been checked whole.
func (c *sealedConn) Read(b []byte) (int, error) {
	for c.unread.Len() == 0 {
		if c.broken == nil {
			c.broken = c.readChunk()
		}
		if c.broken != nil {
			return 0, c.broken
		}
	}
	return c.unread.Read(b)
}

func (c *sealedConn) readChunk() error {
	var length [4]byte
	if _, err := io.ReadFull(c.Conn, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > maxChunk {
		return fmt.Errorf("%w: a sealed chunk of %d bytes", tunnel.ErrMalformed, n)
	}
	if c.in == nil {
		c.in = make([]byte, len(length)+maxChunk+tagSize)
	}
	chunk := c.in[:len(length)+int(n)+tagSize]
	copy(chunk, length[:])
	if _, err := io.ReadFull(c.Conn, chunk[len(length):]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	sealed, tag := chunk[:len(length)+int(n)], chunk[len(length)+int(n):]
	if !c.open.check(tag, sealed) {
		return fmt.Errorf("%w: a sealed chunk was changed on its way", tunnel.ErrMalformed)
	}
	c.unread.Reset(sealed[len(length):])
	return nil
}
