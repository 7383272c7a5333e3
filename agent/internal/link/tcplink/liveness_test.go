package tcplink

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// memoryLink makes a link over connections in memory that are not secured.
func memoryLink() (dialer, acceptor *tcpLink) {
	var dialerHalves, acceptorHalves [roles]*half
	for r := range dialerHalves {
		a, b := net.Pipe()
		dialerHalves[r], acceptorHalves[r] = memoryHalf(a), memoryHalf(b)
	}
	return newLink(TLS, dialerHalves, ident.PeerID{1}, true), newLink(TLS, acceptorHalves, ident.PeerID{2}, false)
}

func memoryHalf(c net.Conn) *half {
	raw := &rawConn{Conn: c}
	return newHalf(raw, raw)
}

func TestIdleLinkStaysUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer, acceptor := memoryLink()
		ended := make(chan error, 2)
		for _, l := range []link.Link{dialer, acceptor} {
			go func() { ended <- l.Run(t.Context(), ignore) }()
		}
		select {
		case err := <-ended:
			t.Errorf("an idle link ended: %v", err)
		case <-time.After(time.Hour):
		}
		dialer.Close("")
		acceptor.Close("")
		<-ended
		<-ended
	})
}

func TestDeadPathEndsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer, acceptor := memoryLink()
		for _, h := range acceptor.halves { // the path accepts all bytes and returns none
			go func() { _, _ = io.Copy(io.Discard, h.raw) }()
		}
		began := time.Now()
		err := dialer.Run(t.Context(), ignore)
		if took := time.Since(began); !errors.Is(err, link.ErrSilent) || took != link.SilenceTimeout {
			t.Errorf("the link ended after %v: %v", took, err)
		}
		acceptor.Close("")
	})
}

// One of the two connections can fail alone. That ends the link too.
func TestOneDeadConnectionEndsLink(t *testing.T) {
	for r := range role(roles) {
		t.Run(r.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dialer, acceptor := memoryLink()
				h := acceptor.halves[r]
				h.writing.Lock() // the peer sends nothing on this connection
				acceptorEnded := make(chan error, 1)
				go func() { acceptorEnded <- acceptor.Run(t.Context(), ignore) }()
				if err := dialer.Run(t.Context(), ignore); !errors.Is(err, link.ErrSilent) {
					t.Errorf("the link ended with %v", err)
				}
				h.writing.Unlock()
				acceptor.Close("")
				<-acceptorEnded
			})
		})
	}
}

// A receiver that blocks for longer than link.SilenceTimeout does not end the link.
func TestBlockedReceiverKeepsLinkUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer, acceptor := memoryLink()
		ended := make(chan error, 2)
		delivered := make(chan tunnel.Frame, 1)
		go func() { ended <- dialer.Run(t.Context(), ignore) }()
		go func() {
			ended <- acceptor.Run(t.Context(), func(f tunnel.Frame) error {
				time.Sleep(time.Minute)
				delivered <- f
				return nil
			})
		}()
		lane := tunnel.EndpointLane(1, 2)
		for seq := range uint64(2) {
			f := tunnel.Frame{Lane: lane, Seq: seq + 1, Kind: tunnel.KindSubmit, Body: make([]byte, 100<<10)}
			if err := dialer.Send(f); err != nil {
				t.Fatal(err)
			}
		}
		<-delivered
		<-delivered
		dialer.Close("")
		acceptor.Close("")
		for range 2 {
			<-ended
		}
	})
}
