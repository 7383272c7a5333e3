package relay

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/turn/v2"
)

// Types of requests, and of what only clients send.
const (
	allocateRequest         = 0x0003
	refreshRequest          = 0x0004
	sendIndication          = 0x0016
	createPermissionRequest = 0x0008
	attrUsername            = 0x0006
	attrRealm               = 0x0014
	attrNonce               = 0x0015
)

// raw is a client that sends what a test wants, byte for byte.
type raw struct {
	t     *testing.T
	conn  net.Conn
	in    *bufio.Reader // of a stream
	login Credentials
	nonce []byte
}

// newRaw connects to a relay over "udp" or "tcp".
func newRaw(t *testing.T, r *Relay, network string, login Credentials) *raw {
	t.Helper()
	conn, err := net.Dial(network, r.address())
	if err != nil {
		t.Fatal(err)
	}
	return rawOver(t, conn, login)
}

func rawOver(t *testing.T, conn net.Conn, login Credentials) *raw {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	c := &raw{t: t, conn: conn, login: login}
	if _, packets := conn.(net.PacketConn); !packets {
		c.in = bufio.NewReader(conn)
	}
	return c
}

// begin is a message of a type with a transaction of its own.
func begin(kind uint16) message {
	of := make(message, stunHeader)
	binary.BigEndian.PutUint32(of[4:], magicCookie)
	rand.Read(of[8:])
	return newMessage(kind, of)
}

// read returns the next message, or nil when none comes in time.
func (c *raw) read(wait time.Duration) message {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 4096)
	if c.in == nil {
		n, err := c.conn.Read(buf)
		if err != nil {
			return nil
		}
		return buf[:n]
	}
	if _, err := io.ReadFull(c.in, buf[:channelHeader]); err != nil {
		return nil
	}
	size, padding := frameSize(buf)
	if _, err := io.ReadFull(c.in, buf[channelHeader:size+padding]); err != nil {
		return nil
	}
	return buf[:size]
}

func (c *raw) write(p []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

// exchange sends a request as it is and returns its answer.
func (c *raw) exchange(m message) message {
	c.t.Helper()
	c.write(m)
	for {
		answer := c.read(patience)
		if answer == nil {
			c.t.Fatalf("no answer to %04x", m.kind())
		}
		if isSTUN(answer) && string(answer[8:stunHeader]) == string(m[8:stunHeader]) {
			if !wellFormed(answer) {
				c.t.Fatalf("the answer %x is malformed", []byte(answer))
			}
			return answer
		}
	}
}

// request authenticates a request and returns its answer, and its error's code
// or 0.
func (c *raw) request(m message) (message, int) {
	c.t.Helper()
	if c.nonce == nil {
		first := c.exchange(newMessage(m.kind(), begin(m.kind())).add(attrTransport, []byte{17, 0, 0, 0}))
		if c.nonce = first.find(attrNonce); code(first) != 401 || c.nonce == nil {
			c.t.Fatalf("got %x, want 401 with a nonce", []byte(first))
		}
	}
	key := keyOf(c.login)
	answer := c.exchange(m.add(attrUsername, []byte(c.login.Username)).add(attrRealm, []byte(realm)).add(attrNonce, c.nonce).addIntegrity(key))
	return answer, code(answer)
}

func keyOf(c Credentials) []byte { return turn.GenerateAuthKey(c.Username, realm, c.Password) }

func code(m message) int {
	e := m.find(attrErrorCode)
	if len(e) < 4 {
		return 0
	}
	return int(e[2])*100 + int(e[3])
}

// allocate asks for an allocation.
func (c *raw) allocate() (netip.AddrPort, int) {
	c.t.Helper()
	answer, code := c.request(begin(allocateRequest).add(attrTransport, []byte{17, 0, 0, 0}))
	if code != 0 {
		return netip.AddrPort{}, code
	}
	return xorAddress(c.t, answer, attrXORRelayed), 0
}

func xorAddress(t *testing.T, m message, attr uint16) netip.AddrPort {
	t.Helper()
	value := m.find(attr)
	if len(value) != fourLength && len(value) != sixLength {
		t.Fatalf("no address in %x", []byte(m))
	}
	plain := append([]byte(nil), value...)
	for i := range plain[2:] {
		mask := m[4:stunHeader]
		if i < 2 {
			plain[2+i] ^= mask[i]
		} else {
			plain[2+i] ^= mask[i-2]
		}
	}
	ip, _ := netip.AddrFromSlice(plain[4:])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(plain[2:]))
}

// permit asks for a permission.
func (c *raw) permit(peer netip.AddrPort) int {
	c.t.Helper()
	_, code := c.request(begin(createPermissionRequest).addXORAddress(attrXORPeerAddress, peer))
	return code
}

// bind asks for a channel.
func (c *raw) bind(channel uint16, peer netip.AddrPort) int {
	c.t.Helper()
	number := binary.BigEndian.AppendUint16(nil, channel)
	_, code := c.request(begin(channelBindRequest).add(attrChannelNumber, append(number, 0, 0)).addXORAddress(attrXORPeerAddress, peer))
	return code
}

// send sends data in an indication.
func (c *raw) send(peer netip.AddrPort, data []byte) {
	c.t.Helper()
	c.write(begin(sendIndication).addXORAddress(attrXORPeerAddress, peer).add(attrData, data))
}

// channel sends data on a channel.
func (c *raw) channel(number uint16, data []byte) {
	c.t.Helper()
	p := binary.BigEndian.AppendUint16(nil, number)
	p = binary.BigEndian.AppendUint16(p, uint16(len(data)))
	c.write(append(append(p, data...), make([]byte, -len(data)&3)...))
}
