package relayload

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun"
	"github.com/pion/turn/v2"
)

// A request is sent again if it has no answer in time.
const (
	maxAttempts   = 5
	answerTimeout = time.Second
)

const firstChannel = 0x4000 // RFC 5766 section 11

// client is a TURN client with one allocation and one channel.
type client struct {
	conn    *net.UDPConn
	server  netip.AddrPort
	login   Login
	realm   stun.Realm
	nonce   stun.Nonce
	relayed netip.AddrPort
}

// Login is a long-term credential (RFC 8489 section 9.2).
type Login struct{ Username, Password string }

// dial makes an allocation at a server, and binds a channel to a peer. It tries another port if the server still has an
// allocation of an earlier client at the same port.
func dial(server netip.AddrPort, login Login, peer netip.AddrPort) (c *client, err error) {
	for range maxAttempts {
		if c, err = dialOnce(server, login, peer); !errors.Is(err, errMismatch) {
			return c, err
		}
	}
	return nil, err
}

func dialOnce(server netip.AddrPort, login Login, peer netip.AddrPort) (_ *client, err error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: server.Addr().AsSlice()})
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, server: server, login: login}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	udp := stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}
	answer, err := c.request(stun.MethodAllocate, udp)
	if err != nil {
		return nil, fmt.Errorf("allocate: %w", err)
	}
	var at stun.XORMappedAddress
	if err := at.GetFromAs(answer, stun.AttrXORRelayedAddress); err != nil {
		return nil, fmt.Errorf("allocate: %w", err)
	}
	ip, _ := netip.AddrFromSlice(at.IP)
	c.relayed = netip.AddrPortFrom(ip.Unmap(), uint16(at.Port))
	value := []byte{firstChannel >> 8, firstChannel & 0xff, 0, 0}
	number := stun.RawAttribute{Type: stun.AttrChannelNumber, Value: value}
	if _, err := c.request(stun.MethodChannelBind, number, address{peer}); err != nil {
		return nil, fmt.Errorf("bind a channel: %w", err)
	}
	return c, nil
}

// address is an XOR-PEER-ADDRESS attribute.
type address struct{ netip.AddrPort }

// AddTo appends it to a message.
func (a address) AddTo(m *stun.Message) error {
	x := stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}
	return x.AddToAs(m, stun.AttrXORPeerAddress)
}

var (
	errUnauthorized = errors.New("unauthorized")
	errMismatch     = errors.New("the server has an allocation for the address of the client")
)

// request sends a request until the server accepts it.
func (c *client) request(method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
	var failure error
	for range maxAttempts {
		m, err := c.message(method, attributes...)
		if err != nil {
			return nil, err
		}
		answer, err := c.exchange(m)
		if err == nil || !errors.Is(err, errUnauthorized) && !isTimeout(err) {
			return answer, err
		}
		failure = err
	}
	return nil, failure
}

// message returns a request, with credentials if the server has asked for them.
func (c *client) message(method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
	setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attributes...)
	if c.nonce != nil {
		key := stun.MessageIntegrity(turn.GenerateAuthKey(c.login.Username, c.realm.String(), c.login.Password))
		setters = append(setters, stun.NewUsername(c.login.Username), c.realm, c.nonce, key)
	}
	return stun.Build(setters...)
}

// exchange sends a message and returns its answer.
func (c *client) exchange(m *stun.Message) (*stun.Message, error) {
	if _, err := c.conn.WriteToUDPAddrPort(m.Raw, c.server); err != nil {
		return nil, err
	}
	c.conn.SetReadDeadline(time.Now().Add(answerTimeout))
	defer c.conn.SetReadDeadline(time.Time{})
	buf := make([]byte, 2048)
	for {
		n, _, err := c.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return nil, err
		}
		answer := &stun.Message{Raw: append([]byte(nil), buf[:n]...)}
		if answer.Decode() != nil || answer.TransactionID != m.TransactionID {
			continue
		}
		if answer.Type.Class == stun.ClassSuccessResponse {
			return answer, nil
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(answer); err != nil {
			return nil, fmt.Errorf("refused: %s", answer.Type)
		}
		if code.Code == stun.CodeAllocMismatch || code.Code == stun.CodeWrongCredentials {
			return nil, fmt.Errorf("%w: %s", errMismatch, code)
		}
		if code.Code != stun.CodeUnauthorized && code.Code != stun.CodeStaleNonce {
			return nil, fmt.Errorf("refused: %s", code)
		}
		c.nonce, c.realm = nil, nil
		if err := errors.Join(c.nonce.GetFrom(answer), c.realm.GetFrom(answer)); err != nil {
			return nil, err
		}
		return nil, errUnauthorized
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// close ends the allocation, without waiting for an answer.
func (c *client) close() error {
	m, err := c.message(stun.MethodRefresh, stun.RawAttribute{Type: stun.AttrLifetime, Value: make([]byte, 4)})
	if err == nil {
		_, err = c.conn.WriteToUDPAddrPort(m.Raw, c.server)
	}
	return errors.Join(err, c.conn.Close())
}
