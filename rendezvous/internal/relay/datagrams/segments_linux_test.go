package datagrams

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKernelRefusesSegments has a socket without checksums, for which the kernel refuses segments with EINVAL. It
// does the same if the segments are too long for the path.
func TestKernelRefusesSegments(t *testing.T) {
	from, _ := listen(t, "udp4", "127.0.0.1:0")
	raw, err := from.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	})
	if failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	var to []*net.UDPConn
	for range 2 {
		c, _ := listen(t, "udp4", "127.0.0.1:0")
		to = append(to, c)
	}
	sends(t, from, to, lengths(1200, 1200, 700))
}

func TestDatagramsOfOneLengthAndAddressShareAMessage(t *testing.T) {
	from, a := listen(t, "udp4", "127.0.0.1:0")
	_, b := listen(t, "udp4", "127.0.0.1:0")
	w := writer(t, from)
	if w.socket.noSegments.Load() {
		t.Skip("this kernel has no UDP_SEGMENT, which is in Linux 4.18")
	}
	for range 10 {
		w.out = outboxes.Get().(*outbox)
		for range 20 {
			w.out.add(nil, make([]byte, 1000), a)
			w.out.add(nil, make([]byte, 1000), b)
		}
		w.out.add(nil, make([]byte, 10), a)
		w.out.add(nil, make([]byte, 1000), a)
		w.out.group(false, true)
		if w.out.runs != 3 {
			t.Errorf("%d messages, want one to each address and one after the short one", w.out.runs)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}
