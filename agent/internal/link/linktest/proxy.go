package linktest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// TCPProxy forwards TCP connections to target and returns its own address. It
// plays an attacker on the path: alter is called with all bytes that pass and may
// change them.
func TCPProxy(t *testing.T, target string, alter func(toTarget bool, b []byte)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var pipes sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	pipes.Go(func() {
		for {
			incoming, err := listener.Accept()
			if err != nil {
				return
			}
			outgoing, err := net.Dial("tcp", target)
			if err != nil {
				_ = incoming.Close()
				continue
			}
			mu.Lock()
			open = append(open, incoming, outgoing)
			mu.Unlock()
			pipes.Go(func() { pump(outgoing, incoming, func(b []byte) { alter(true, b) }) })
			pipes.Go(func() { pump(incoming, outgoing, func(b []byte) { alter(false, b) }) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		pipes.Wait()
	})
	return listener.Addr().String()
}

// pump copies until either connection is closed, and then closes both.
func pump(to io.WriteCloser, from io.ReadCloser, alter func([]byte)) {
	defer func() { _ = to.Close() }()
	defer func() { _ = from.Close() }()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		alter(b[:n])
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

// UDPProxy forwards packets between one sender and target, and calls alter like
// TCPProxy.
func UDPProxy(t *testing.T, target *net.UDPAddr, alter func(toTarget bool, b []byte)) *net.UDPAddr {
	t.Helper()
	incoming, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	outgoing, err := net.DialUDP("udp", nil, target)
	if err != nil {
		_ = incoming.Close()
		t.Fatal(err)
	}
	var sender atomic.Pointer[net.UDPAddr]
	var pipes sync.WaitGroup
	pipes.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := incoming.ReadFromUDP(b)
			if err != nil {
				return
			}
			sender.Store(from)
			alter(true, b[:n])
			_, _ = outgoing.Write(b[:n]) // a failed write is a lost packet
		}
	})
	pipes.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, err := outgoing.Read(b)
			if err != nil {
				return
			}
			alter(false, b[:n])
			if to := sender.Load(); to != nil {
				_, _ = incoming.WriteToUDP(b[:n], to) // a failed write is a lost packet
			}
		}
	})
	t.Cleanup(func() {
		_ = incoming.Close()
		_ = outgoing.Close()
		pipes.Wait()
	})
	return incoming.LocalAddr().(*net.UDPAddr)
}
