package relay

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun"
	"github.com/pion/turn/v2"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

// Types of messages that only clients send.
var (
	allocateRequest         = stun.NewType(stun.MethodAllocate, stun.ClassRequest)
	refreshRequest          = stun.NewType(stun.MethodRefresh, stun.ClassRequest)
	createPermissionRequest = stun.NewType(stun.MethodCreatePermission, stun.ClassRequest)
	sendIndication          = stun.NewType(stun.MethodSend, stun.ClassIndication)
)

// message returns a message of a type with a new transaction and some attributes.
func message(kind stun.MessageType, setters ...stun.Setter) *stun.Message {
	return stun.MustBuild(append([]stun.Setter{stun.TransactionID, kind}, setters...)...)
}

// attribute returns an attribute with any value.
func attribute(attr stun.AttrType, value []byte) stun.Setter {
	return stun.RawAttribute{Type: attr, Value: value}
}

// overUDP is the REQUESTED-TRANSPORT attribute of an Allocate request.
var overUDP = attribute(stun.AttrRequestedTransport, []byte{17, 0, 0, 0})

// lifetime returns a LIFETIME attribute.
func lifetime(seconds uint32) stun.Setter {
	return attribute(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, seconds))
}

// peerAddress returns an XOR-PEER-ADDRESS attribute.
func peerAddress(peer netip.AddrPort) stun.Setter { return xorAddress{stun.AttrXORPeerAddress, peer} }

// raw is a client that sends any bytes that a test wants.
type raw struct {
	t     *testing.T
	conn  net.Conn
	in    *bufio.Reader // of a stream
	login Credentials
	nonce stun.Nonce
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

// read returns the next message, or nil if none arrives.
func (c *raw) read() []byte {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(waittest.Timeout))
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
func (c *raw) exchange(request *stun.Message) *stun.Message {
	c.t.Helper()
	c.write(request.Raw)
	for {
		p := c.read()
		if p == nil {
			c.t.Fatalf("no answer to %s", request.Type)
		}
		answer := &stun.Message{}
		if !isSTUN(p) {
			continue
		}
		if !decode(answer, p) {
			c.t.Fatalf("the answer %x is malformed", p)
		}
		if answer.TransactionID == request.TransactionID {
			return answer
		}
	}
}

// request authenticates a request and returns its answer, and the answer's error code or 0.
func (c *raw) request(m *stun.Message) (*stun.Message, stun.ErrorCode) {
	c.t.Helper()
	if c.nonce == nil {
		first := c.exchange(message(m.Type, overUDP))
		if err := c.nonce.GetFrom(first); err != nil || code(first) != stun.CodeUnauthorized {
			c.t.Fatalf("got %s, want error 401 with a nonce", first)
		}
	}
	add(m, stun.NewUsername(c.login.Username), stun.NewRealm(realm), c.nonce, keyOf(c.login))
	answer := c.exchange(m)
	return answer, code(answer)
}

func keyOf(c Credentials) stun.MessageIntegrity {
	return turn.GenerateAuthKey(c.Username, realm, c.Password)
}

// code returns the error code of an answer, or 0.
func code(m *stun.Message) stun.ErrorCode {
	var e stun.ErrorCodeAttribute
	if e.GetFrom(m) != nil {
		return 0
	}
	return e.Code
}

// allocate asks for an allocation.
func (c *raw) allocate() (netip.AddrPort, stun.ErrorCode) {
	c.t.Helper()
	answer, code := c.request(message(allocateRequest, overUDP))
	if code != 0 {
		return netip.AddrPort{}, code
	}
	return readXORAddress(answer, stun.AttrXORRelayedAddress), 0
}

// permit asks for a permission.
func (c *raw) permit(peer netip.AddrPort) stun.ErrorCode {
	c.t.Helper()
	_, code := c.request(message(createPermissionRequest, peerAddress(peer)))
	return code
}

// bind asks for a channel.
func (c *raw) bind(channel uint16, peer netip.AddrPort) stun.ErrorCode {
	c.t.Helper()
	number := append(binary.BigEndian.AppendUint16(nil, channel), 0, 0)
	_, code := c.request(message(channelBindRequest, attribute(stun.AttrChannelNumber, number), peerAddress(peer)))
	return code
}

// send sends data in a Send indication.
func (c *raw) send(peer netip.AddrPort, data []byte) {
	c.t.Helper()
	c.write(message(sendIndication, peerAddress(peer), attribute(stun.AttrData, data)).Raw)
}

// channel sends data on a channel.
func (c *raw) channel(number uint16, data []byte) {
	c.t.Helper()
	p := binary.BigEndian.AppendUint16(nil, number)
	p = binary.BigEndian.AppendUint16(p, uint16(len(data)))
	c.write(append(append(p, data...), make([]byte, -len(data)&3)...))
}
