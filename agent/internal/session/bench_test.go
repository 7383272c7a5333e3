package session_test

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// BenchmarkURBs measures URBs that a client submits to a device of a host through two sessions and a link in memory.
// The processor time is that of the whole process: both sessions, the link, and the device.
func BenchmarkURBs(b *testing.B) {
	for _, c := range []struct {
		name     string
		endpoint usb.Endpoint
		size     int
		inFlight int
	}{
		{"interrupt/1", echoInterruptIn, 8, 1},
		{"interrupt/32", echoInterruptIn, 8, 32},
		{"bulkIn64K/1", echoBulkIn, 64 << 10, 1},
		{"bulkIn64K/32", echoBulkIn, 64 << 10, 32},
		{"bulkOut64K/1", echoBulkOut, 64 << 10, 1},
		{"bulkOut64K/32", echoBulkOut, 64 << 10, 32},
	} {
		b.Run(c.name, func(b *testing.B) {
			urbs := newLoad(b, attachOverMemory(b), c.endpoint, c.size, c.inFlight)
			b.ReportAllocs()
			b.SetBytes(int64(c.size))
			began := linktest.ProcessorTime(b)
			b.ResetTimer()
			urbs.run(b.N)
			b.StopTimer()
			used := linktest.ProcessorTime(b) - began
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "URBs/s")
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/URB")
			if c.size > 8 {
				b.ReportMetric(used.Seconds()/(float64(b.N)*float64(c.size)/1e9), "cpu-s/GB")
			}
		})
	}
}
