package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// boot starts a guest with a disk of known content.
func boot(t *testing.T) (*Guest, []byte) {
	t.Helper()
	if err := Usable(); err != nil {
		t.Skip(err)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	image, err := Build(ctx, filepath.Join(dir, "easyfind-e2e"))
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(disk, content, 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := Start(ctx, Config{
		Name: "g", Image: image, Dir: t.TempDir(), USB: []USB{Disk("disk", disk), Keyboard("keyboard")},
		Files: map[string]string{"/etc/given": disk}, Modules: []string{"vhci_hcd"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("ready after %v (init at %s s, devices at %s s of the guest's time)", g.Boot, g.Facts.Init, g.Facts.Settled)
	return g, content
}

func TestGuestRunsPrograms(t *testing.T) {
	g, content := boot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	run := func(script string) string {
		t.Helper()
		out, err := g.Exec(ctx, script)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := fmt.Sprintf("%x", sha256.Sum256(content))
	run("until test -b /dev/sda; do usleep 20000; done") // the kernel finds the disk late
	if got := run("sha256sum < /dev/sda"); !strings.HasPrefix(got, want) {
		t.Errorf("the USB disk has sum %s, want %s", got, want)
	}
	if got := run("sha256sum < /etc/given"); !strings.HasPrefix(got, want) {
		t.Errorf("the given file has sum %s, want %s", got, want)
	}
	for _, script := range []string{
		"lsusb | grep -q Keyboard", "test -d /sys/devices/platform/vhci_hcd.0", "usbip version", "tc -V", "ip -V",
		"dd if=/dev/zero of=/tmp/fs bs=1M count=8 2>/dev/null && mke2fs -q -F /tmp/fs && e2fsck -fn /tmp/fs",
		"modprobe -a ext4 vfat sch_netem tcp_bbr cdc_acm ftdi_sio",
	} {
		run(script)
	}

	file := filepath.Join(t.TempDir(), "put")
	if err := os.WriteFile(file, content, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := g.Put(ctx, file, "/tmp/put"); err != nil {
		t.Fatal(err)
	}
	if got := run("sha256sum < /tmp/put; stat -c %a /tmp/put"); !strings.HasPrefix(got, want) ||
		!strings.HasSuffix(got, "750") {
		t.Errorf("after put: %s", got)
	}

	if out, err := g.Exec(ctx, "echo said; exit 3"); err == nil || out != "said" ||
		!strings.Contains(err.Error(), "status 3") {
		t.Errorf("a failing script: %q, %v", out, err)
	}
	if code, err := g.Stream(ctx, nil, &bytes.Buffer{}, &bytes.Buffer{}, "no-such-program"); err == nil || code != 127 {
		t.Errorf("a program that is not there: %d, %v", code, err)
	}
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if _, err := g.Exec(short, "sleep 1000 & sleep 1000"); err == nil {
		t.Error("a program outlives its context")
	}
	run("while pgrep -x sleep; do :; done") // both it and its child are killed

	if _, err := g.QMP("device_del", map[string]string{"id": "disk"}); err != nil {
		t.Fatal(err)
	}
	run("while test -b /dev/sda; do usleep 20000; done")
	if _, err := g.QMP("device_del", map[string]string{"id": "no-such-device"}); err == nil {
		t.Error("the monitor's error is lost")
	}
}

func TestProgramsEndWithTheGuest(t *testing.T) {
	g, _ := boot(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := g.Exec(ctx, "sleep 1000")
		ended <- err
	}()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || ctx.Err() != nil {
		t.Errorf("a program in a guest that was closed: %v", err)
	}
	if _, err := g.Exec(ctx, "true"); err == nil {
		t.Error("a closed guest runs programs")
	}
}

func TestTableKeepsChosenModules(t *testing.T) {
	raw := "# Aliases\nalias usb:v0403* ftdi_sio\nalias fs-xfs xfs\n"
	if got := tableOf(raw, map[string]bool{"ftdi_sio": true}); got != "alias usb:v0403* ftdi_sio\n" {
		t.Errorf("aliases: %q", got)
	}
	if got := tableOf("softdep ext4 pre: crc32c\nsoftdep xfs pre: x\n",
		map[string]bool{"ext4": true}); got != "softdep ext4 pre: crc32c\n" {
		t.Errorf("soft dependencies: %q", got)
	}
}
