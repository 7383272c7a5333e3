package path

import (
	"errors"
	"net"
	"testing"
)

// A TURN server that never responds must not delay the end of an attempt: abort
// closes the sockets to it, and no further ones can be made.
func TestAbortClosesSocketsToSilentRelays(t *testing.T) {
	silent, err := net.Listen("tcp4", "127.0.0.1:0") // accepts in the kernel and never responds
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	n, err := newRelayNet(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := n.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := n.Dial("tcp4", silent.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() {
		_, _, err := udp.ReadFrom(make([]byte, 1))
		ended <- err
	}()
	go func() {
		_, err := tcp.Read(make([]byte, 1))
		ended <- err
	}()
	n.abort()
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read after abort: %v", err)
		}
	}
	if _, err := n.ListenPacket("udp4", "127.0.0.1:0"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a UDP socket after abort: %v", err)
	}
	if _, err := n.Dial("tcp4", silent.Addr().String()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a TCP connection after abort: %v", err)
	}
}
