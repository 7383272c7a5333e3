package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// awaitDisk prints the name of the client's only disk once it exists.
const awaitDisk = `until d=$(ls /sys/block | grep '^sd') && test -b "/dev/$d"; do usleep 100000; done; echo "$d"`

const diskIsGone = `while ls /sys/block | grep -q '^sd'; do usleep 50000; done`

// giveBack releases the host's disk. It waits until the client's kernel has removed it and
// the host's kernel has it again, so that the next step finds no old disk.
func (k *chain) giveBack(t *testing.T, use string) {
	t.Helper()
	k.client.must(t, nil, "release", use)
	k.c.must(t, commandTimeout, diskIsGone)
	k.s.must(t, commandTimeout, awaitDisk)
}

// mountDisk waits for the remote disk on the client, mounts it and returns its name.
func (m *machine) mountDisk(t *testing.T) string {
	t.Helper()
	d := m.must(t, commandTimeout, awaitDisk)
	m.must(t, commandTimeout, "mount -t ext4 /dev/"+d+" /mnt")
	return d
}

// copyOut reads a file from the mounted disk, not from the page cache, and compares its
// checksum. After each further part of the file it calls the next function of meanwhile;
// the copy must continue afterwards.
func (m *machine) copyOut(t *testing.T, disk string, f file, meanwhile ...func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	began := time.Now()
	type outcome struct {
		sum string
		err error
	}
	ended := make(chan outcome, 1)
	before := m.sectors(t, disk)
	go func() {
		got, err := m.Exec(ctx, "echo 3 > /proc/sys/vm/drop_caches; sha256sum < /mnt/"+f.name)
		ended <- outcome{got, err}
	}()
	for _, disturb := range meanwhile {
		part := int(f.size / 16 / 512)
		eventually(t, commandTimeout, func(context.Context) error {
			if n := m.sectors(t, disk) - before; n < part {
				return fmt.Errorf("%d sectors of the file have arrived, want %d", n, part)
			}
			return nil
		})
		select {
		case <-ended:
			t.Fatal("the copy is over before it could be disturbed")
		default:
		}
		disturb()
		before = m.sectors(t, disk)
	}
	got := <-ended
	if got.err != nil {
		t.Fatal(got.err)
	}
	if !strings.HasPrefix(got.sum, f.sum) {
		t.Errorf("the copied file has sum %s, want %s", got.sum, f.sum)
	}
	took := time.Since(began)
	t.Logf(
		"%d MiB copied out in %v, %.1f MB/s",
		f.size>>20,
		took.Round(time.Millisecond),
		float64(f.size)/took.Seconds()/1e6,
	)
}

// sectors returns how many sectors of 512 bytes the guest has read from a disk
// (Documentation/block/stat.rst).
func (m *machine) sectors(t *testing.T, disk string) int {
	t.Helper()
	f := strings.Fields(m.must(t, commandTimeout, "cat /sys/block/"+disk+"/stat"))
	if len(f) < 3 {
		t.Fatalf("statistics of %s: %q", disk, f)
	}
	n, err := strconv.Atoi(f[2])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// copyIn writes a file to the mounted disk and returns its checksum.
func (m *machine) copyIn(t *testing.T) (sum string) {
	t.Helper()
	m.must(t, commandTimeout, fmt.Sprintf("dd if=/dev/urandom of=/tmp/in bs=1M count=%d 2>/dev/null", inSize>>20))
	began := time.Now()
	m.must(t, 5*time.Minute, "cp /tmp/in /mnt/in && sync")
	t.Logf("%d MiB copied in in %v", inSize>>20, time.Since(began).Round(time.Millisecond))
	sum, _, _ = strings.Cut(m.must(t, commandTimeout, "sha256sum < /tmp/in"), " ")
	return sum
}

// hasDiskBack checks that the host's kernel has its disk again, with an intact file system
// and the file that was copied in.
func (m *machine) hasDiskBack(t *testing.T, sum string) {
	t.Helper()
	d := m.must(t, commandTimeout, awaitDisk)
	m.must(t, commandTimeout, "e2fsck -f -n /dev/"+d)
	m.must(t, commandTimeout, "mount -t ext4 -o ro /dev/"+d+" /mnt")
	if got := m.must(t, commandTimeout, "sha256sum < /mnt/in"); !strings.HasPrefix(got, sum) {
		t.Errorf("on the host the file that was copied in has sum %s, want %s", got, sum)
	}
	m.must(t, commandTimeout, "umount /mnt")
}

// stuck lists tasks in uninterruptible sleep.
const stuck = `grep -l '^[0-9]* (.*) D ' /proc/[0-9]*/stat 2>/dev/null | while read f; do
	 cat "$f" "${f%stat}stack" 2>/dev/null; done`

// nothingHangs waits until no task is in uninterruptible sleep.
func (m *machine) nothingHangs(t *testing.T, within time.Duration) {
	t.Helper()
	eventually(t, within, func(ctx context.Context) error {
		out, err := m.Exec(ctx, stuck)
		if err == nil && out != "" {
			err = fmt.Errorf("stuck: %s", out)
		}
		return err
	})
}
