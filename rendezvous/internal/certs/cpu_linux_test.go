package certs

import (
	"crypto/tls"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// BenchmarkHandshake measures the cost of a handshake for the server: the processor
// time of the thread that accepts a connection over loopback, performs the
// handshake, sends the tickets and one byte, and closes the connection.
func BenchmarkHandshake(b *testing.B) {
	c := Config{
		Data: b.TempDir(), Host: "rendezvous.test", Secret: []byte("s"), Logger: new(logtest.Journal).Logger(),
	}
	keeper, err := New(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	caches := map[string]tls.ClientSessionCache{"full": nil, "resumed": tls.NewLRUClientSessionCache(1)}
	for name, cache := range caches {
		b.Run(name, func(b *testing.B) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", keeper.TLS())
			if err != nil {
				b.Fatal(err)
			}
			var spent time.Duration
			var serving sync.WaitGroup
			serving.Go(func() {
				runtime.LockOSThread()
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					began := threadTime(b)
					conn.Write([]byte{1}) // performs the handshake first
					conn.Close()
					spent += threadTime(b) - began
				}
			})
			config := ident.PinnedTLS(*keeper.Pin())
			config.ClientSessionCache = cache
			connect := func() bool {
				conn, err := tls.Dial("tcp", l.Addr().String(), config)
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				var one [1]byte
				if _, err := conn.Read(one[:]); err != nil {
					b.Fatal(err)
				}
				return conn.ConnectionState().DidResume
			}
			connect()
			n := 1
			for b.Loop() {
				n++
				if connect() != (cache != nil) {
					b.Fatalf("resumed: %v, want %v", cache == nil, cache != nil)
				}
			}
			l.Close()
			serving.Wait()
			b.ReportMetric(float64(spent.Microseconds())/float64(n), "server-µs/op")
		})
	}
}

// threadTime returns the processor time that this thread has used.
func threadTime(b *testing.B) time.Duration {
	const thread = 1 // RUSAGE_THREAD, getrusage(2)
	var used syscall.Rusage
	if err := syscall.Getrusage(thread, &used); err != nil {
		b.Error(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
