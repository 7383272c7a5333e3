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

// tagger makes or checks the tags of the chunks of one direction. It uses each
// counter value once.
type tagger struct {
	aead    cipher.AEAD
	counter uint64
}

func newTagger(key []byte) (*tagger, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key of plain chunks: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("key of plain chunks: %w", err)
	}
	return &tagger{aead: aead}, nil
}

// nonce returns the counter as a nonce of 12 bytes and increments it.
func (t *tagger) nonce() []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[4:], t.counter)
	t.counter++
	return n[:]
}

// append appends the tag of a chunk (length and payload) to b. GCM with nothing
// to encrypt is GMAC (NIST SP 800-38D section 3).
func (t *tagger) append(b, chunk []byte) []byte { return t.aead.Seal(b, t.nonce(), nil, chunk) }

// check reports whether tag is the tag of the next chunk.
func (t *tagger) check(tag, chunk []byte) bool {
	_, err := t.aead.Open(nil, t.nonce(), tag, chunk)
	return err == nil
}

// chunkConn is a connection whose bytes travel in chunks with a tag.
type chunkConn struct {
	net.Conn

	// Owned by the reader.
	begin   func() error // reads what comes before the first chunk; nil if nothing does
	in      *tagger
	chunk   []byte // buffer for length, payload and tag
	unread  bytes.Reader
	readErr error // the error that ended reading

	mu  sync.Mutex
	out *tagger // guarded by mu
	buf []byte  // guarded by mu
}

func newChunkConn(conn net.Conn, readKey, writeKey []byte) (*chunkConn, error) {
	in, err := newTagger(readKey)
	if err != nil {
		return nil, err
	}
	out, err := newTagger(writeKey)
	if err != nil {
		return nil, err
	}
	return &chunkConn{Conn: conn, in: in, out: out}, nil
}

// Write sends all of b in as many chunks as it takes. A chunk is built in one
// buffer, so that it leaves in one call and the tag covers exactly those bytes.
func (c *chunkConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := 0
	for len(b) > 0 {
		n := min(len(b), maxChunk)
		c.buf = binary.BigEndian.AppendUint32(c.buf[:0], uint32(n))
		c.buf = append(c.buf, b[:n]...)
		c.buf = c.out.append(c.buf, c.buf)
		if _, err := c.Conn.Write(c.buf); err != nil {
			return done, err
		}
		done, b = done+n, b[n:]
	}
	return done, nil
}

// Read returns payload of chunks whose tags have been checked.
func (c *chunkConn) Read(b []byte) (int, error) {
	for c.unread.Len() == 0 {
		if c.readErr == nil {
			c.readErr = c.next()
		}
		if c.readErr != nil {
			return 0, c.readErr
		}
	}
	return c.unread.Read(b)
}

// next reads a chunk into unread.
func (c *chunkConn) next() error {
	if c.begin != nil {
		if err := c.begin(); err != nil {
			return err
		}
		c.begin = nil
	}
	var length [4]byte
	if _, err := io.ReadFull(c.Conn, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > maxChunk {
		return fmt.Errorf("%w: a chunk of %d bytes", tunnel.ErrMalformed, n)
	}
	if c.chunk == nil {
		c.chunk = make([]byte, len(length)+maxChunk+tagSize)
	}
	chunk := c.chunk[:len(length)+int(n)+tagSize]
	copy(chunk, length[:])
	if _, err := io.ReadFull(c.Conn, chunk[len(length):]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	tagged, tag := chunk[:len(length)+int(n)], chunk[len(length)+int(n):]
	if !c.in.check(tag, tagged) {
		return fmt.Errorf("%w: a chunk was changed on its way", tunnel.ErrMalformed)
	}
	c.unread.Reset(tagged[len(length):])
	return nil
}
