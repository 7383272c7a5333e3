package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

// TestGuestsStandBehindNATs checks what the other tests stand on.
func TestGuestsStandBehindNATs(t *testing.T) {
	needs(t, lab.Usable, guest.Usable)
	image, err := buildImage()
	if err != nil {
		t.Fatal(err)
	}
	l := network{host: nat("portrestrict"), client: nat("symmetric")}.start(t)
	disk, files := diskImage(t)
	p := programs{image: image, agent: "/bin/true"}
	s, c := bootHost(t, l, p, disk), bootClient(t, l, p)

	const patience = time.Minute
	s.must(t, patience, "ping -c 1 -W 20 198.51.100.10")
	c.must(t, patience, "ping -c 1 -W 20 198.51.100.10")
	if _, err := c.Exec(t.Context(), "ping -c 1 -W 2 192.168.1.2"); err == nil {
		t.Error("the client reaches the host's private address")
	}
	s.must(t, patience, "until test -b /dev/sda; do usleep 50000; done; mount -t ext4 -o ro /dev/sda /mnt")
	if got := s.must(t, patience, "sha256sum < /mnt/part"); !strings.HasPrefix(got, files.part.sum) {
		t.Errorf("the disk's file has sum %s in the guest, want %s", got, files.part.sum)
	}
	s.must(t, patience, "umount /mnt; test -e /dev/ttyUSB0; test -e /dev/input/event0")
	c.must(t, patience, "test -w /sys/devices/platform/vhci_hcd.0/attach")
}
