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

// shortBudget is that of a client whose host does not come back.
const shortBudget = 15 * time.Second

// cut cuts the host's network off, makes sure that the client has noticed, and
// mends it after a time.
func (k *chain) cut(t *testing.T, length time.Duration) {
	t.Helper()
	over := time.After(length) // what is tested is the time itself
	began := time.Now()
	if err := k.lab.Cut("gws", true); err != nil {
		t.Fatal(err)
	}
	k.client.has(t, patience, "no link with the host", func(s status) bool {
		return slices.ContainsFunc(s.Peers, func(p peerStatus) bool { return p.Name == "workshop" && !p.Up })
	})
	t.Logf("the client notices the cut after %v", time.Since(began).Round(100*time.Millisecond))
	<-over
	if err := k.lab.Cut("gws", false); err != nil {
		t.Fatal(err)
	}
	t.Logf("cut for %v", time.Since(began).Round(100*time.Millisecond))
}

// undisturbed copies from the used disk through what meanwhile does, of which
// the client's kernel must not notice more than a pause.
func (k *chain) undisturbed(t *testing.T, disk string, meanwhile ...func()) {
	t.Helper()
	u := k.client.use(t, "workshop", disk)
	d := k.c.mountDisk(t)
	for timer, least := range map[string]int{"timeout": 60 + 30, "eh_timeout": 60 + 10} {
		got := k.c.must(t, patience, "cat /sys/block/"+d+"/device/"+timer)
		if n, err := strconv.Atoi(got); err != nil || n < least {
			t.Errorf("the kernel's %s for the far disk is %s s, want %d: its own and the budget", timer, got, least)
		}
	}
	k.c.mark(t)
	k.c.copyOut(t, d, k.files.part, meanwhile...)
	if said := k.c.troubles(t); said != "" {
		t.Errorf("the client's kernel has noticed:\n%s", said)
	}
	k.c.must(t, patience, "umount /mnt")
	k.giveBack(t, u.ID)
}

func (k *chain) copySurvivesThreeCuts(t *testing.T, disk string) {
	cut := func(length time.Duration) func() { return func() { k.cut(t, length) } }
	k.undisturbed(t, disk, cut(20*time.Second), cut(17*time.Second), cut(15*time.Second))
}

// copySurvivesALongCut is within the default budget, and longer than what Linux
// gives a disk for a command.
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

// mark begins what troubles looks at in the machine's kernel log.
func (m *machine) mark(t *testing.T) {
	t.Helper()
	m.must(t, patience, "echo the test begins > /dev/kmsg")
}

// troubles are the kernel's words, since mark, of an unplug, of a reset, or of
// errors.
func (m *machine) troubles(t *testing.T) string {
	t.Helper()
	return m.must(t, patience, `dmesg | tac | sed '/the test begins/q' | tac | sed 1d | grep -iE 'disconnect|reset|error|fail|tim(ed|ing) out|offline|abort|vhci' || true`)
}

// goneAfter reads a mounted disk in a machine until the disk is no more, and
// returns how long that was after the last bytes came: by the machine's clock,
// whatever keeps this one busy. It says on started that it reads.
func (m *machine) goneAfter(t *testing.T, disk string, started chan<- struct{}) (time.Duration, error) {
	const script = `
		while dd if=/dev/$0 of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null; do
			read -r came rest < /proc/uptime
			echo reading
		done
		while test -e /sys/block/$0; do usleep 20000; done
		read -r gone rest < /proc/uptime
		echo "$came $gone"`
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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

// lastLine keeps the last line that is written, and tells of the first.
type lastLine struct {
	first chan<- struct{} // closed then, and nil after it
	line  string
	open  bool // more of line may follow
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

// unplugged runs cause while the client's disk is being read, and returns how
// long after the last sign of life the client's kernel has seen the unplug.
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
	k.c.must(t, patience, "umount /mnt")
	k.c.nothingHangs(t, patience)
	return after
}

func (k *chain) killedHostIsACleanUnplug(t *testing.T, disk string) {
	k.client.use(t, "workshop", disk)
	after := k.unplugged(t, k.c.mountDisk(t), func() { k.host.kill(t) })
	t.Logf("the client's kernel sees the unplug %v after the last sign of life; the budget is %v", after, shortBudget)
	if after > shortBudget {
		t.Errorf("the client's kernel sees the unplug %v after the last sign of life, beyond the budget of %v", after, shortBudget)
	}
	if u := k.client.status(t).Uses; len(u) != 1 || u[0].State == "attached" || !strings.Contains(u[0].Reason, "budget") {
		t.Errorf("the client's status does not say that it waits and why: %+v", u)
	}
}

// hostDiskIsUnpluggedAndBack pulls the disk out of the host while the client
// reads it, and plugs it in again.
func (k *chain) hostDiskIsUnpluggedAndBack(t *testing.T, disk string) {
	k.client.use(t, "workshop", disk)
	after := k.unplugged(t, k.c.mountDisk(t), func() {
		if _, err := k.s.QMP("device_del", map[string]string{"id": "disk"}); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("the client's kernel sees the unplug %v after the last bytes", after)
	if after > 5*time.Second { // nobody waits for anything
		t.Errorf("the client's kernel sees the unplug only %v after the last bytes", after)
	}
	k.client.has(t, patience, "the use, waiting, and why", func(s status) bool {
		return len(s.Uses) == 1 && s.Uses[0].State == "waiting" && s.Uses[0].Reason != ""
	})
	k.host.has(t, patience, "nothing lent", func(s status) bool { return len(s.Exports) == 0 })

	device := map[string]string{"driver": "usb-storage", "id": "disk", "drive": "disk-file", "serial": "EF-disk", "bus": "xhci.0", "port": "1"} // where it was
	if _, err := k.s.QMP("device_add", device); err != nil {
		t.Fatal(err)
	}
	k.c.copyOut(t, k.c.mountDisk(t), k.files.little)
	k.c.must(t, patience, "umount /mnt")
	k.giveBack(t, k.client.status(t).Uses[0].ID)
}
