package tcplink

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// The plain mode's handshake; see the package comment.
const (
	plainMagic = "efplain1"
	helloSize  = 32 + 32 + ed25519.PublicKeySize // e, n, key
	proofSize  = ed25519.SignatureSize + sha256.Size
)

// errNotPlain says that something else than this handshake answered.
var errNotPlain = fmt.Errorf("%w: not the handshake of a plain link", tunnel.ErrMalformed)

// hello is a side's contribution to the exchange.
type hello struct {
	ephemeral []byte // X25519
	nonce     []byte // 32 bytes
	key       ed25519.PublicKey
}

func (h hello) encode() []byte {
	return append(append(append([]byte(nil), h.ephemeral...), h.nonce...), h.key...)
}

func decodeHello(b []byte) (hello, error) {
	if len(b) != helloSize {
		return hello{}, errNotPlain
	}
	return hello{ephemeral: b[:32], nonce: b[32:64], key: ed25519.PublicKey(b[64:])}, nil
}

// side is the part that an end plays. It is in all that is signed, so that a
// proof cannot be sent back to its maker.
type side string

const (
	sideDialer   side = "dialer"
	sideAcceptor side = "acceptor"
)

// exchange is one handshake, as one of its ends sees it.
type exchange struct {
	me      ident.Key
	private *ecdh.PrivateKey
	mine    hello
	dialer  hello // both hellos, complete when keys is called
	accept  hello
	secret  []byte // HKDF's pseudorandom key
}

func newExchange(me ident.Key) (*exchange, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ephemeral key: %w", err)
	}
	nonce := make([]byte, 32)
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	return &exchange{
		me: me, private: private,
		mine: hello{ephemeral: private.PublicKey().Bytes(), nonce: nonce, key: me.Public()},
	}, nil
}

// agree takes in both hellos; other is the far end's.
func (x *exchange) agree(dialer, acceptor, other hello) error {
	x.dialer, x.accept = dialer, acceptor
	public, err := ecdh.X25519().NewPublicKey(other.ephemeral)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotPlain, err)
	}
	shared, err := x.private.ECDH(public) // refuses points of low order
	if err != nil {
		return fmt.Errorf("%w: %w", errNotPlain, err)
	}
	x.secret, err = hkdf.Extract(sha256.New, shared, append(append([]byte(nil), dialer.nonce...), acceptor.nonce...))
	return err
}

// statement is what is proved: the mode, who proves, and both hellos.
func (x *exchange) statement(by side) [][]byte {
	return [][]byte{[]byte(plainMagic), []byte(by), x.dialer.encode(), x.accept.encode()}
}

// key derives a key for one purpose of one side.
func (x *exchange) key(purpose string, of side) ([]byte, error) {
	return hkdf.Expand(sha256.New, x.secret, plainMagic+" "+purpose+" "+string(of), keySize)
}

func (x *exchange) mac(by side) ([]byte, error) {
	key, err := x.key("confirm", by)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, key)
	for _, part := range x.statement(by) {
		m.Write(part)
	}
	return m.Sum(nil), nil
}

// prove returns this end's signature and mac.
func (x *exchange) prove(by side) ([]byte, error) {
	mac, err := x.mac(by)
	if err != nil {
		return nil, err
	}
	return append(x.me.Sign(ident.PurposeLink, x.statement(by)...), mac...), nil
}

// verify checks the other end's.
func (x *exchange) verify(proof []byte, by side, key ed25519.PublicKey) error {
	mac, err := x.mac(by)
	if err != nil {
		return err
	}
	if len(proof) != proofSize || !ident.Verify(key, ident.PurposeLink, proof[:ed25519.SignatureSize], x.statement(by)...) ||
		!ident.Equal(proof[ed25519.SignatureSize:], mac) {
		return fmt.Errorf("%w: its proof does not hold", ident.ErrUntrusted)
	}
	return nil
}

// sealed makes the connection that follows the handshake.
func (x *exchange) sealed(conn net.Conn, me, other side) (*sealedConn, error) {
	write, err := x.key("records", me)
	if err != nil {
		return nil, err
	}
	read, err := x.key("records", other)
	if err != nil {
		return nil, err
	}
	return newSealedConn(conn, read, write)
}

// plainDial is the dialer's end of the handshake. trust judges the acceptor
// before this end proves anything.
func plainDial(conn net.Conn, me ident.Key, trust func(ident.PeerID) error) (*sealedConn, ident.PeerID, error) {
	x, err := newExchange(me)
	if err != nil {
		return nil, ident.PeerID{}, err
	}
	if _, err := conn.Write(append([]byte(plainMagic), x.mine.encode()...)); err != nil {
		return nil, ident.PeerID{}, fmt.Errorf("begin the handshake: %w", err)
	}
	answer := make([]byte, helloSize+proofSize)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, ident.PeerID{}, handshakeRead(err)
	}
	theirs, err := decodeHello(answer[:helloSize])
	if err != nil {
		return nil, ident.PeerID{}, err
	}
	if err := x.agree(x.mine, theirs, theirs); err != nil {
		return nil, ident.PeerID{}, err
	}
	if err := x.verify(answer[helloSize:], sideAcceptor, theirs.key); err != nil {
		return nil, ident.PeerID{}, err
	}
	peer, err := judge(theirs.key, trust)
	if err != nil {
		return nil, peer, err
	}
	proof, err := x.prove(sideDialer)
	if err != nil {
		return nil, peer, err
	}
	if _, err := conn.Write(proof); err != nil {
		return nil, peer, fmt.Errorf("end the handshake: %w", err)
	}
	sealed, err := x.sealed(conn, sideDialer, sideAcceptor)
	return sealed, peer, err
}

// plainAccept is the acceptor's end. The dialer is judged after it has proved
// its key, so that nobody learns who is trusted by naming keys.
func plainAccept(conn net.Conn, me ident.Key, trust func(ident.PeerID) error) (*sealedConn, ident.PeerID, error) {
	begin := make([]byte, len(plainMagic)+helloSize)
	if _, err := io.ReadFull(conn, begin); err != nil {
		return nil, ident.PeerID{}, handshakeRead(err)
	}
	theirs, err := decodeHello(begin[len(plainMagic):])
	if err != nil || string(begin[:len(plainMagic)]) != plainMagic {
		return nil, ident.PeerID{}, errNotPlain
	}
	x, err := newExchange(me)
	if err != nil {
		return nil, ident.PeerID{}, err
	}
	if err := x.agree(theirs, x.mine, theirs); err != nil {
		return nil, ident.PeerID{}, err
	}
	proof, err := x.prove(sideAcceptor)
	if err != nil {
		return nil, ident.PeerID{}, err
	}
	if _, err := conn.Write(append(x.mine.encode(), proof...)); err != nil {
		return nil, ident.PeerID{}, fmt.Errorf("answer the handshake: %w", err)
	}
	answer := make([]byte, proofSize)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, ident.PeerID{}, handshakeRead(err)
	}
	if err := x.verify(answer, sideDialer, theirs.key); err != nil {
		return nil, ident.PeerID{}, err
	}
	peer, err := judge(theirs.key, trust)
	if err != nil {
		return nil, peer, err
	}
	sealed, err := x.sealed(conn, sideAcceptor, sideDialer)
	return sealed, peer, err
}

func judge(key ed25519.PublicKey, trust func(ident.PeerID) error) (ident.PeerID, error) {
	peer := ident.IDOf(key)
	if err := trust(peer); err != nil {
		return peer, fmt.Errorf("%w: %s: %w", ident.ErrUntrusted, peer.Short(), err)
	}
	return peer, nil
}

func handshakeRead(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the other end closed the connection during the handshake: %w", err)
	}
	return fmt.Errorf("handshake: %w", err)
}
