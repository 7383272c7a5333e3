package tcplink

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// inMemory makes a link over connections in memory, without their security.
func inMemory() (dialer, acceptor *tcpLink) {
	var near, far [roles]*half
	for r := range near {
		a, b := net.Pipe()
		near[r], far[r] = memoryHalf(a), memoryHalf(b)
	}
	return newLink(TLS, near, ident.PeerID{1}, true), newLink(TLS, far, ident.PeerID{2}, false)
}

func memoryHalf(c net.Conn) *half {
	w := &wire{Conn: c}
	return newHalf(w, w)
}

func TestQuietLinkStaysUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer, acceptor := inMemory()
		ended := make(chan error, 2)
		for _, l := range []link.Link{dialer, acceptor} {
			go func() { ended <- l.Run(t.Context(), func(tunnel.Frame) error { return nil }) }()
		}
		select {
		case err := <-ended:
			t.Errorf("a link on which nobody spoke ended: %v", err)
		case <-time.After(time.Hour):
		}
		dialer.Close("")
		acceptor.Close("")
		<-ended
		<-ended
	})
}

func TestDeadPathIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer, acceptor := inMemory()
		for _, h := range acceptor.halves { // the path takes everything and gives nothing
			go func() {
				b := make([]byte, 1024)
				for {
					if _, err := h.wire.Read(b); err != nil {
						return
					}
				}
			}()
		}
		began := time.Now()
		err := dialer.Run(t.Context(), func(tunnel.Frame) error { return nil })
		if !errors.Is(err, link.ErrSilent) || time.Since(began) > 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		acceptor.Close("")
	})
}

// A receiver that holds a lane up is no dead path, however long it takes.
func TestHeldUpLinkStaysUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer, acceptor := inMemory()
		ended := make(chan error, 2)
		held := make(chan tunnel.Frame, 1)
		go func() { ended <- dialer.Run(t.Context(), func(tunnel.Frame) error { return nil }) }()
		go func() {
			ended <- acceptor.Run(t.Context(), func(f tunnel.Frame) error {
				<-time.After(time.Minute)
				held <- f
				return nil
			})
		}()
		for seq := range uint64(2) {
			if err := dialer.Send(tunnel.Frame{Lane: tunnel.EndpointLane(1, 2), Seq: seq + 1, Kind: tunnel.KindSubmit, Body: make([]byte, 100<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		<-held
		<-held
		dialer.Close("")
		acceptor.Close("")
		for range 2 {
			<-ended
		}
	})
}
