package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shortBudget is the budget of a client whose host does not come back.
const shortBudget = 15 * time.Second

// cut interrupts the host's network, waits until the client has noticed, and restores the
// network after length.
func (k *chain) cut(t *testing.T, length time.Duration) {
	t.Helper()
	over := time.After(length) // this time is what the test is about
	began := time.Now()
	if err := k.lab.Cut("gws", true); err != nil {
		t.Fatal(err)
	}
	k.client.has(t, commandTimeout, "no link with the host", func(s status) bool {
		return slices.ContainsFunc(s.Peers, func(p peerStatus) bool { return p.Name == "workshop" && !p.Up })
	})
	t.Logf("the client notices the cut after %v", time.Since(began).Round(100*time.Millisecond))
	<-over
	if err := k.lab.Cut("gws", false); err != nil {
		t.Fatal(err)
	}
	t.Logf("cut for %v", time.Since(began).Round(100*time.Millisecond))
}

// undisturbed copies from the used disk while it calls meanwhile. The client's kernel must
// notice no more than a pause.
func (k *chain) undisturbed(t *testing.T, disk string, meanwhile ...func()) {
	t.Helper()
	u := k.client.use(t, "workshop", disk)
	d := k.c.mountDisk(t)
	for timer, least := range map[string]int{"timeout": 60 + 30, "eh_timeout": 60 + 10} {
		got := k.c.must(t, commandTimeout, "cat /sys/block/"+d+"/device/"+timer)
		if n, err := strconv.Atoi(got); err != nil || n < least {
			t.Errorf("the kernel's %s for the remote disk is %s s, want %d: its default and the budget", timer, got,
				least)
		}
	}
	k.c.mark(t)
	k.c.copyOut(t, d, k.files.part, meanwhile...)
	if said := k.c.troubles(t); said != "" {
		t.Errorf("the client's kernel has noticed:\n%s", said)
	}
	k.c.must(t, commandTimeout, "umount /mnt")
	k.giveBack(t, u.ID)
}

func (k *chain) copySurvivesThreeCuts(t *testing.T, disk string) {
	cut := func(length time.Duration) func() { return func() { k.cut(t, length) } }
	k.undisturbed(t, disk, cut(20*time.Second), cut(17*time.Second), cut(15*time.Second))
}

// copySurvivesALongCut cuts the network for less than the default budget and longer than
// Linux's time-out for a disk command.
func (k *chain) copySurvivesALongCut(t *testing.T, disk string) {
	k.undisturbed(t, disk, func() { k.cut(t, 45*time.Second) })
}

func (k *chain) copySurvivesForgetfulNATs(t *testing.T, disk string) {
	k.undisturbed(t, disk, func() {
		if err := errors.Join(k.lab.FlushNAT("gws"), k.lab.FlushNAT("gwc")); err != nil {
			t.Fatal(err)
		}
	})
}

// mark writes a line to the guest's kernel log after which troubles looks.
func (m *machine) mark(t *testing.T) {
	t.Helper()
	m.must(t, commandTimeout, "echo the test begins > /dev/kmsg")
}

// troubles returns the lines of the kernel log since mark that report an unplug, a reset or
// an error.
func (m *machine) troubles(t *testing.T) string {
	t.Helper()
	return m.must(
		t,
		commandTimeout,
		`dmesg | tac | sed '/the test begins/q' | tac | sed 1d |
			grep -iE 'disconnect|reset|error|fail|tim(ed|ing) out|offline|abort|vhci' || true`,
	)
}

// goneAfter reads a mounted disk in a guest until the disk disappears. It returns the time
// since the last bytes arrived, by the guest's clock, which other work of this machine does
// not affect. It closes started when it reads.
func (m *machine) goneAfter(t *testing.T, disk string, started chan<- struct{}) (time.Duration, error) {
	const script = `
		while dd if=/dev/$0 of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null; do
			read -r came rest < /proc/uptime
			echo reading
		done
		while test -e /sys/block/$0; do usleep 20000; done
		read -r gone rest < /proc/uptime
		echo "$came $gone"`
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	said := &lastLine{first: started}
	if code, err := m.Stream(ctx, nil, said, said, "sh", "-c", script, disk); err != nil || code != 0 {
		return 0, fmt.Errorf("the reader of the disk: exit %d, %w; it said %q", code, err, said.line)
	}
	var seconds [2]float64
	for i, f := range strings.Fields(said.line) {
		var err error
		if seconds[i%2], err = strconv.ParseFloat(f, 64); err != nil {
			return 0, fmt.Errorf("the reader of the disk says %q", said.line)
		}
	}
	return time.Duration((seconds[1] - seconds[0]) * float64(time.Second)), nil
}

// lastLine is a writer that keeps the last line and announces the first.
type lastLine struct {
	first chan<- struct{} // closed at the first line, then nil
	line  string
	open  bool // line is incomplete
}

func (l *lastLine) Write(p []byte) (int, error) {
	for part := range strings.SplitAfterSeq(string(p), "\n") {
		if part == "" {
			continue
		}
		if !l.open {
			l.line = ""
		}
		whole, done := strings.CutSuffix(part, "\n")
		l.line += whole
		l.open = !done
	}
	if l.first != nil {
		close(l.first)
		l.first = nil
	}
	return len(p), nil
}

// unplugged calls cause while the client reads its disk. It returns the time from the last
// sign of life until the client's kernel saw the unplug.
func (k *chain) unplugged(t *testing.T, d string, cause func()) time.Duration {
	t.Helper()
	k.c.mark(t)
	started, ended := make(chan struct{}), make(chan error, 1)
	var after time.Duration
	go func() {
		var err error
		after, err = k.c.goneAfter(t, d, started)
		ended <- err
	}()
	select {
	case <-started:
	case err := <-ended:
		t.Fatalf("it ended before its cause: %v", err)
	}
	cause()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if said := k.c.troubles(t); !strings.Contains(said, "USB disconnect") {
		t.Errorf("the client's kernel has not seen an unplug, but:\n%s", said)
	}
	k.c.must(t, commandTimeout, "umount /mnt")
	k.c.nothingHangs(t, commandTimeout)
	return after
}

func (k *chain) killedHostIsACleanUnplug(t *testing.T, disk string) {
	k.client.use(t, "workshop", disk)
	after := k.unplugged(t, k.c.mountDisk(t), func() { k.host.kill(t) })
	t.Logf("the client's kernel sees the unplug %v after the last sign of life; the budget is %v", after, shortBudget)
	if after > shortBudget {
		t.Errorf(
			"the client's kernel sees the unplug %v after the last sign of life, beyond the budget of %v",
			after,
			shortBudget,
		)
	}
	if u := k.client.status(t).Uses; len(u) != 1 || u[0].State == "attached" ||
		!strings.Contains(u[0].Reason, "budget") {
		t.Errorf("the client's status does not say that it waits and why: %+v", u)
	}
}

// hostDiskIsUnpluggedAndBack unplugs the disk from the host while the client reads it, and
// plugs it in again.
func (k *chain) hostDiskIsUnpluggedAndBack(t *testing.T, disk string) {
	k.client.use(t, "workshop", disk)
	after := k.unplugged(t, k.c.mountDisk(t), func() {
		if _, err := k.s.QMP("device_del", map[string]string{"id": "disk"}); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("the client's kernel sees the unplug %v after the last bytes", after)
	if after > 5*time.Second { // a device that is known to be gone is removed at once
		t.Errorf("the client's kernel sees the unplug only %v after the last bytes", after)
	}
	k.client.has(t, commandTimeout, "the use, waiting, and why", func(s status) bool {
		return len(s.Uses) == 1 && s.Uses[0].State == "waiting" && s.Uses[0].Reason != ""
	})
	k.host.has(t, commandTimeout, "nothing lent", func(s status) bool { return len(s.Exports) == 0 })

	device := map[string]string{
		"driver": "usb-storage",
		"id":     "disk",
		"drive":  "disk-file",
		"serial": "EF-disk",
		"bus":    "xhci.0",
		"port":   "1",
	} // the same port
	if _, err := k.s.QMP("device_add", device); err != nil {
		t.Fatal(err)
	}
	k.c.copyOut(t, k.c.mountDisk(t), k.files.little)
	k.c.must(t, commandTimeout, "umount /mnt")
	k.giveBack(t, k.client.status(t).Uses[0].ID)
}
