package quiclink

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// TestCoalescedPacketsArriveSeparately sends packets in one system call, as the engine does.
// On loopback the kernel also delivers them in one.
func TestCoalescedPacketsArriveSeparately(t *testing.T) {
	loopback := net.IPv4(127, 0, 0, 1)
	for name, listen := range map[string]func() (*net.UDPConn, error){
		"one address":   func() (*net.UDPConn, error) { return net.ListenUDP("udp4", &net.UDPAddr{IP: loopback}) },
		"all addresses": func() (*net.UDPConn, error) { return net.ListenUDP("udp", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			from, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback})
			if err != nil {
				t.Fatal(err)
			}
			defer from.Close()
			conn, err := listen()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			at := &net.UDPAddr{IP: loopback, Port: conn.LocalAddr().(*net.UDPAddr).Port}
			checkCoalesced(t, from, newSocket(conn), at)
		})
	}
}

// checkCoalesced sends packets to an address and reads them.
func checkCoalesced(t *testing.T, from *net.UDPConn, to *socket, at *net.UDPAddr) {
	t.Helper()
	if !to.coalesces {
		t.Error("the kernel does not coalesce packets")
	}
	var want, got []int
	send := func(total, segment int) {
		b := make([]byte, total)
		for i := range b {
			b[i] = byte(len(want) + i/max(1, segment))
		}
		var control []byte
		if segment < total {
			control = segmentControl(uint16(segment))
		}
		if _, _, err := from.WriteMsgUDP(b, control, at); err != nil {
			t.Fatal(err)
		}
		for ; total > segment; total -= segment {
			want = append(want, segment)
		}
		want = append(want, total)
	}
	send(20_000, 1000)
	send(1, 1)
	send(0, 0)
	send(14*1441+7, 1441)
	send(1452, 1452)
	messages := make([]ipv4.Message, 8)
	for i := range messages {
		messages[i].Buffers, messages[i].OOB = [][]byte{make([]byte, 1452)}, make([]byte, 128)
	}
	for len(got) < len(want) {
		n, err := to.ReadBatch(messages, 0)
		if err != nil || n == 0 {
			t.Fatalf("%d packets and %v", n, err)
		}
		for _, m := range messages[:n] {
			if m.Addr.String() != from.LocalAddr().String() {
				t.Errorf("a packet from %v", m.Addr)
			}
			for _, c := range m.Buffers[0][:m.N] {
				if c != byte(len(got)) {
					t.Fatalf("packet %d contains a byte of packet %d", len(got), c)
				}
			}
			got = append(got, m.N)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("packets of %v bytes, want %v", got, want)
	}
}

// segmentControl returns the control message by which the kernel cuts data into packets.
func segmentControl(size uint16) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], size)
	return b
}
