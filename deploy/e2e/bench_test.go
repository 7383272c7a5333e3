package e2e

import (
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

var benchUSB = flag.Bool("bench-usb", false, "measure a far disk beside stock usbip, for some minutes")

// figures are what is measured of a far disk under one condition.
type figures struct {
	appears    time.Duration // from the command until the disk is there
	sequential float64       // MB/s, direct reads of 1 MiB
	small      time.Duration // one direct read of 4 KiB, mean
}

// TestBenchUSB measures the same disk in the same two guests over the same
// emulated link, through EasyFind and through Linux's own usbip.
func TestBenchUSB(t *testing.T) {
	if !*benchUSB {
		t.Skip("measures only with -bench-usb")
	}
	host := nat("portrestrict")
	host.Link = &lab.Link{}
	host.NAT.Forward = []lab.Forward{{Proto: "tcp", Port: 3240, To: "192.168.1.2:3240"}} // for usbipd
	k := startChain(t, network{host: host, client: nat("portrestrict")}, "--usbip-listen", "127.0.0.1:3241")
	disk := k.share(t, "harddrive")
	k.s.must(t, patience, "modprobe usbip_host && usbipd -D")

	table := []string{
		"| RTT ms | loss % | way | path | disk there after s | read MB/s | 4 KiB ms |",
		"|---|---|---|---|---|---|---|",
	}
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
		for _, loss := range []float64{0, 0.01} {
			link := lab.Link{Impair: lab.Impair{Delay: rtt / 2, Loss: loss / 2}} // each way
			if err := k.lab.SetLink("gws", link); err != nil {
				t.Fatal(err)
			}
			mebibytes := 32
			if rtt > 0 {
				mebibytes = 8
			}
			path, ours := k.measureEasyFind(t, disk, mebibytes)
			for _, row := range []struct {
				way, path string
				figures
			}{{"EasyFind", path, ours}, {"usbip", "TCP, not encrypted", k.measureUSBIP(t, disk, mebibytes)}} {
				table = append(table, fmt.Sprintf("| %d | %g | %s | %s | %.1f | %.2f | %.1f |", rtt.Milliseconds(), loss*100, row.way, row.path,
					row.appears.Seconds(), row.sequential, float64(row.small.Microseconds())/1000))
				t.Log(table[len(table)-1])
			}
		}
	}
	fmt.Println(strings.Join(table, "\n"))
}

func (k *chain) measureEasyFind(t *testing.T, disk string, mebibytes int) (path string, f figures) {
	t.Helper()
	began := time.Now()
	u := k.client.use(t, "workshop", disk)
	d := k.c.must(t, patience, awaitDisk)
	f.appears = time.Since(began)
	k.c.measure(t, d, mebibytes, &f)
	p := k.client.peer(t, "workshop", patience, func(peerStatus) bool { return true })
	k.client.must(t, nil, "release", u.ID)
	k.s.must(t, patience, awaitDisk)
	return p.Link.Rank, f
}

func (k *chain) measureUSBIP(t *testing.T, disk string, mebibytes int) (f figures) {
	t.Helper()
	k.s.must(t, patience, "usbip bind -b "+disk)
	began := time.Now()
	k.c.must(t, patience, "usbip attach -r 203.0.113.10 -b "+disk)
	d := k.c.must(t, patience, awaitDisk)
	f.appears = time.Since(began)
	k.c.measure(t, d, mebibytes, &f)
	k.c.must(t, patience, detachUSBIP)
	k.s.must(t, patience, "until usbip unbind -b "+disk+"; do usleep 200000; done")
	k.s.must(t, patience, awaitDisk)
	return f
}

// detachUSBIP detaches the one device that usbip has attached.
const detachUSBIP = `usbip detach -p "$(usbip port 2>/dev/null | sed -n 's/^Port \([0-9]*\):.*/\1/p')"`

// copied is what dd says: "33554432 bytes (34 MB, 32 MiB) copied, 0.5 s, 67.1 MB/s".
var copied = regexp.MustCompile(`(\d+) bytes .* copied, ([0-9.e-]+) s`)

// measure reads from a disk past the page cache.
func (m *machine) measure(t *testing.T, disk string, mebibytes int, f *figures) {
	t.Helper()
	const small = 32
	read := func(args string) (bytes, seconds float64) {
		out := m.must(t, 10*time.Minute, "dd if=/dev/"+disk+" of=/dev/null iflag=direct "+args+" 2>&1")
		said := copied.FindStringSubmatch(out)
		if said == nil {
			t.Fatalf("dd says %q", out)
		}
		n, errN := strconv.ParseFloat(said[1], 64)
		s, errS := strconv.ParseFloat(said[2], 64)
		if errN != nil || errS != nil || s == 0 {
			t.Fatalf("dd says %q", out)
		}
		return n, s
	}
	bytes, seconds := read(fmt.Sprintf("bs=1M count=%d", mebibytes))
	f.sequential = bytes / seconds / 1e6
	_, seconds = read(fmt.Sprintf("bs=4k count=%d skip=20000", small))
	f.small = time.Duration(seconds / small * float64(time.Second))
}
