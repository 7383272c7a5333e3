package tcplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestDialRefusesAnotherPeer(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		s := newServer(t, mode, anyone)
		_, err := Dialer{Key: newKey(t)}.Dial(linktest.Context(t), mode, s.Addr().String(), newKey(t).ID())
		failed, ok := errors.AsType[*DialError](err)
		if !ok || !errors.Is(err, ident.ErrUntrusted) {
			t.Fatalf("error %v, want %v", err, ident.ErrUntrusted)
		}
		if !strings.Contains(failed.Explain(), "another peer than the expected one answers") {
			t.Errorf("explained as %q", failed.Explain())
		}
	})
}

func TestListenerRefusesUntrustedDialer(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		s := newServer(t, mode, func(ident.PeerID) error { return errors.New("not paired") })
		l, err := Dialer{Key: newKey(t)}.Dial(linktest.Context(t), mode, s.Addr().String(), s.id)
		if err == nil {
			err = linktest.Within(t, linktest.Start(t, l, ignore), "the link to end")
		}
		if err == nil {
			t.Error("the untrusted dialer got no error")
		}
		if len(s.accepted) > 0 {
			t.Error("the link of an untrusted dialer was accepted")
		}
	})
}

// In plain mode an attacker who knows a peer's public key, but not its private
// key, must not learn whether the listener trusts that peer.
func TestPlainListenerAsksTrustOnlyAboutProvedKeys(t *testing.T) {
	trusted, attacker := newKey(t), newKey(t)
	var called atomic.Bool
	s := newServer(t, Plain, func(ident.PeerID) error {
		called.Store(true)
		return nil
	})
	cfg := peerConfig(t, attacker, Plain.alpn())
	stolen, err := trusted.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Certificates[0].Certificate = stolen.Certificate // a public key without its private key
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.ReadAll(tls.Client(conn, cfg))
	if err == nil {
		t.Error("the listener accepted a key that was not proved")
	}
	if called.Load() {
		t.Error("the listener asked whether it trusts a key that was not proved")
	}
}

// peerConfig returns the TLS configuration of a peer that offers the ALPN names
// and trusts every key.
func peerConfig(t testing.TB, key ident.Key, alpn ...string) *tls.Config {
	t.Helper()
	cfg, err := ident.MutualTLS(key, "", anyone)
	if err != nil {
		t.Fatal(err)
	}
	cfg.NextProtos = alpn
	return cfg
}

func TestDialReportsThatNobodyListens(t *testing.T) {
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = port.Close()
	_, err = Dialer{Key: newKey(t)}.Dial(linktest.Context(t), TLS, port.Addr().String(), newKey(t).ID())
	if failed, ok := errors.AsType[*DialError](err); !ok || !strings.Contains(failed.Explain(), "nobody listens at") {
		t.Errorf("error %v", err)
	}
}

// A dialer in one mode makes no link with a listener in the other mode, whether
// by mistake or because an attacker forwards the connection.
func TestModesDoNotMix(t *testing.T) {
	for dials, listens := range map[Mode]Mode{TLS: Plain, Plain: TLS} {
		t.Run(dials.String()+" to "+listens.String(), func(t *testing.T) {
			s := newServer(t, listens, anyone)
			_, err := Dialer{Key: newKey(t)}.Dial(linktest.Context(t), dials, s.Addr().String(), s.id)
			if err == nil {
				t.Error("a link was made")
			} else if !strings.Contains(err.Error(), "application protocol") {
				t.Errorf("error %v, want one about the application protocol", err)
			}
		})
	}
}

// A peer that offers no ALPN name gets no link in either mode.
func TestPeersWithoutALPNAreRefused(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		for _, me := range []side{sideDialer, sideAcceptor} {
			s, err := newSecurity(mode, me, newKey(t), anyone)
			if err != nil {
				t.Fatal(err)
			}
			cfg := peerConfig(t, newKey(t))
			dialerEnd, acceptorEnd := tcpPair(t)
			mine, peer := dialerEnd, tls.Server(acceptorEnd, cfg)
			if me == sideAcceptor {
				mine, peer = acceptorEnd, tls.Client(dialerEnd, cfg)
			}
			handshake := make(chan error, 1)
			go func() { handshake <- peer.HandshakeContext(t.Context()) }()
			_, _, err = s.secure(t.Context(), mine)
			if err == nil || !strings.Contains(err.Error(), "does not speak "+mode.alpn()) {
				t.Errorf("%s: error %v", me, err)
			}
			if err := linktest.Within(t, handshake, "the peer's handshake to end"); err != nil {
				t.Errorf("%s: the peer's handshake: %v", me, err)
			}
		}
	})
}

// oldHello is the first message of a dialer of the first plain mode.
var oldHello = append([]byte("efplain1"), make([]byte, 96)...)

func TestListenerNamesDialerThatIsTooOld(t *testing.T) {
	s, err := newSecurity(Plain, sideAcceptor, newKey(t), anyone)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.secure(t.Context(), endless{Reader: strings.NewReader(string(oldHello))})
	if err == nil || !strings.Contains(err.Error(), "too old: update it") {
		t.Errorf("error %v", err)
	}
}

// A listener of the first plain mode reads as many bytes as an old dialer sends,
// finds another handshake and closes the connection.
func TestDialExplainsListenerThatIsTooOld(t *testing.T) {
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	linktest.Serve(t, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = old.Close() })()
		for {
			conn, err := old.Accept()
			if err != nil {
				return nil
			}
			_, _ = io.ReadFull(conn, make([]byte, len(oldHello)))
			_ = conn.Close()
		}
	})
	_, err = Dialer{Key: newKey(t)}.Dial(linktest.Context(t), Plain, old.Addr().String(), newKey(t).ID())
	if failed, ok := errors.AsType[*DialError](err); !ok || !strings.Contains(failed.Explain(), "older version") {
		t.Errorf("error %v", err)
	}
}

// An attacker flips one bit of the handshake. No link that delivers comes of it.
func TestHandshakeDetectsTampering(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		for _, at := range []int{0, 9, 40, 80, 103, 110, 150, 200, 300, 500} {
			for _, toTarget := range []bool{true, false} {
				t.Run(fmt.Sprint(at, toTarget), func(t *testing.T) {
					s := newServer(t, mode, anyone)
					var passed [2]atomic.Int64
					proxy := linktest.TCPProxy(t, s.Addr().String(), func(to bool, b []byte) {
						direction := &passed[0]
						if to {
							direction = &passed[1]
						}
						before := int(direction.Add(int64(len(b)))) - len(b)
						if to == toTarget && at >= before && at < before+len(b) {
							b[at-before] ^= 0x10
						}
					})
					l, err := Dialer{Key: newKey(t)}.Dial(linktest.Context(t), mode, proxy, s.id)
					if err != nil {
						return
					}
					if linktest.Within(t, linktest.Start(t, l, ignore), "the link to end") == nil {
						t.Error("the link ended without an error")
					}
					if len(s.accepted) > 0 {
						t.Error("the listener accepted a handshake that was changed")
					}
				})
			}
		}
	})
}

// An attacker records all bytes of a dialer and sends them to the listener again.
func TestReplayedConnectionIsRefused(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		p := newPeerPair(t, mode)
		if _, err := p.dialer.Write(join{}.encode()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p.acceptor, make([]byte, joinSize)); err != nil {
			t.Fatalf("the first connection: %v", err)
		}
		_, _, err := p.security[sideAcceptor].secure(t.Context(), endless{Reader: bytes.NewReader(p.fromDialer.wrote)})
		if err == nil {
			t.Error("the acceptor accepted the same bytes again")
		}
	})
}

func TestCancelledDialEnds(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel and never answers
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = mute.Close() })
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			_, err := Dialer{Key: newKey(t)}.Dial(ctx, mode, mute.Addr().String(), newKey(t).ID())
			ended <- err
		}()
		cancel()
		if err := linktest.Within(t, ended, "a cancelled Dial to return"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}
