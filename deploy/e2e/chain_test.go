package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

// chain is a host guest and a client guest, paired through a rendezvous.
type chain struct {
	lab        *lab.Lab
	programs   programs
	rendezvous rendezvous
	s, c       *machine
	host       *agent   // in s
	client     *agent   // in c
	files      contents // on the disk of s
}

const (
	guestProgram = "/usr/bin/easyfind"
	guestDir     = "/run/easyfind"
)

// startChain boots both guests and pairs their agents. The agents run with flags.
func startChain(t *testing.T, n network, flags ...string) *chain {
	t.Helper()
	k := &chain{programs: built(t)}
	k.lab = n.start(t)
	k.rendezvous = startRendezvous(t, k.lab, k.programs)
	image, files := diskImage(t)
	k.files = files
	guests := boot(t, hostGuest(t, k.lab, k.programs, image), clientGuest(t, k.lab, k.programs))
	k.s, k.c = guests[0], guests[1]
	k.host = newAgent(t, "workshop", k.s, guestProgram, guestDir)
	k.client = newAgent(t, "laptop", k.c, guestProgram, guestDir)
	k.host.up(t, append(flags, "--rendezvous", k.rendezvous.link)...)
	k.client.up(t, append(flags, "--rendezvous", k.rendezvous.link)...)
	t.Cleanup(func() {
		if t.Failed() { // the agents still run
			k.s.describe(t, "s")
			k.c.describe(t, "c")
		}
	})
	pair(t, k.host, k.client)
	return k
}

// share shares the host's device whose name contains word, and returns its bus id.
func (k *chain) share(t *testing.T, word string) string {
	t.Helper()
	d := k.host.device(t, word)
	args := []string{"share", d.ID}
	if d.InUse != "" {
		t.Logf("%s is in use by the host: %s", d.Name, d.InUse)
		args = append(args, "--force")
	}
	k.host.must(t, nil, args...)
	return d.ID
}

// TestChainThroughPortRestrictedNATs runs everything a user does once, in one pair of
// guests. Its subtests build on each other.
func TestChainThroughPortRestrictedNATs(t *testing.T) {
	t.Parallel() // most of its time is waiting
	k := startChain(t, network{host: nat("portrestrict"), client: nat("portrestrict")})
	disk := k.share(t, "harddrive")
	for _, part := range []struct {
		name string
		run  func(t *testing.T, disk string)
	}{
		{"GuestsStandBehindNATs", k.guestsStandBehindNATs},
		{"MountedDiskIsRefused", k.mountedDiskIsRefused},
		{"OthersNeedPermission", k.othersNeedPermission},
		{"DiskIsUsedAndGivenBack", k.diskIsUsedAndGivenBack},
		{"CachedWritesAreOnTheDisk", k.cachedWritesAreOnTheDisk},
		{"PathIsDirect", k.pathIsDirect},
		{"ReleasedIsUsedAgainAtOnce", k.releasedIsUsedAgainAtOnce},
		{"CopySurvivesThreeCuts", k.copySurvivesThreeCuts},
		{"CopySurvivesACutOf45Seconds", k.copySurvivesALongCut},
		{"CopySurvivesForgetfulNATs", k.copySurvivesForgetfulNATs},
		{"UnpluggedHostDiskIsACleanUnplug", k.hostDiskIsUnpluggedAndBack},
		{"KeyboardEventsArrive", k.keyboardEventsArrive},
		{"SerialBytesGoBothWays", k.serialBytesGoBothWays},
		{"StockUSBIPAttaches", k.stockUSBIPAttaches},
		{"KilledClientFreesTheDevice", k.killedClientFreesTheDevice},
		{"KilledHostIsACleanUnplug", k.killedHostIsACleanUnplug},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, disk) }) {
			t.Fatalf("%s failed; what follows stands on it", part.name)
		}
	}
}

// guestsStandBehindNATs checks the assumptions of the other subtests.
func (k *chain) guestsStandBehindNATs(t *testing.T, _ string) {
	k.s.must(t, commandTimeout, "ping -c 1 -W 20 198.51.100.10")
	k.c.must(t, commandTimeout, "ping -c 1 -W 20 198.51.100.10")
	if _, err := k.c.Exec(t.Context(), "ping -c 1 -W 2 192.168.1.2"); err == nil {
		t.Error("the client reaches the host's private address")
	}
	k.s.must(t, commandTimeout, "mount -t ext4 -o ro /dev/$("+awaitDisk+") /mnt")
	if got := k.s.must(t, commandTimeout, "sha256sum < /mnt/part"); !strings.HasPrefix(got, k.files.part.sum) {
		t.Errorf("the disk's file has sum %s in the guest, want %s", got, k.files.part.sum)
	}
	k.s.must(t, commandTimeout, "umount /mnt; test -e /dev/ttyUSB0; test -e /dev/input/event0")
	k.c.must(t, commandTimeout, "test -w /sys/devices/platform/vhci_hcd.0/attach")
}

func (k *chain) mountedDiskIsRefused(t *testing.T, disk string) {
	k.s.must(t, commandTimeout, "mount -t ext4 -o ro /dev/$("+awaitDisk+") /mnt")
	k.client.fails(t, exitInUse, "mounted", "use", "workshop", disk)
	k.s.must(t, commandTimeout, "umount /mnt")
}

func (k *chain) diskIsUsedAndGivenBack(t *testing.T, disk string) {
	u := k.client.use(t, "workshop", disk)
	d := k.c.mountDisk(t)
	k.c.copyOut(t, d, k.files.all)
	sum := k.c.copyIn(t)
	if out, err := k.s.Exec(t.Context(), "ls /sys/block | grep '^sd'"); err == nil {
		t.Errorf("the host still has %s while the client uses it", out)
	}
	k.c.must(t, commandTimeout, "umount /mnt")
	k.giveBack(t, u.ID)
	k.s.hasDiskBack(t, sum)
}

// cachedWritesAreOnTheDisk copies a file to the disk with a write cache. After a sync, the
// host's kernel must find all of it.
func (k *chain) cachedWritesAreOnTheDisk(t *testing.T, disk string) {
	u := k.client.use(t, "workshop", disk, "--write-cache")
	d := k.c.mountDisk(t)
	if got := k.c.must(t, commandTimeout, "cat /sys/block/"+d+"/queue/write_cache"); got != "write back" {
		t.Errorf("the client's kernel sees a cache %q", got)
	}
	sum := k.c.copyIn(t)
	k.client.has(t, commandTimeout, "a disk that has all writes after a sync", func(s status) bool {
		for _, stage := range s.Uses[0].Stages {
			if stage.WriteCache {
				return stage.Cached >= inSize/2 && stage.Unwritten == 0 && stage.Unsaved == 0
			}
		}
		return false
	})
	k.c.must(t, commandTimeout, "umount /mnt")
	k.giveBack(t, u.ID)
	k.s.hasDiskBack(t, sum)
}

func (k *chain) pathIsDirect(t *testing.T, disk string) {
	u := k.client.use(t, "workshop", disk)
	p := k.client.peer(
		t,
		"workshop",
		time.Minute,
		func(p peerStatus) bool { return strings.HasPrefix(p.Link.Rank, "direct") },
	)
	if !strings.Contains(p.Link.Remote, "203.0.113.10:") || p.Link.Relay != "" || !p.Link.Encrypted {
		t.Errorf("the link is not one to the host's NAT: %+v", p.Link)
	}
	k.giveBack(t, u.ID)
}

// releasedIsUsedAgainAtOnce releases the disk at several moments while the client's
// kernel still probes it. The next use must not be mistaken for the one before.
func (k *chain) releasedIsUsedAgainAtOnce(t *testing.T, disk string) {
	for moment := range 5 {
		first := k.client.use(t, "workshop", disk)
		k.c.must(t, commandTimeout, fmt.Sprint("usleep ", moment*100_000))
		k.client.must(t, nil, "release", first.ID)
		second := k.client.use(t, "workshop", disk)
		if second.Port == first.Port {
			t.Errorf("both times in port %d", first.Port)
		}
		k.c.must(t, commandTimeout, awaitDisk)
		k.giveBack(t, second.ID)
	}
}

func (k *chain) keyboardEventsArrive(t *testing.T, _ string) {
	u := k.client.use(t, "workshop", k.share(t, "keyboard"))
	event := k.c.must(
		t,
		commandTimeout,
		`until f=$(grep -l "USB Keyboard" /sys/class/input/event*/device/name) &&
			e=/dev/input/$(echo "$f" | cut -d/ -f5) && test -c "$e"; do usleep 100000; done; echo "$e"`,
	)
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := k.c.Exec(ctx, "dd if="+event+" of=/tmp/event bs=24 count=2 2>/dev/null")
		ended <- err
	}()
	press := map[string]any{"keys": []map[string]string{{"type": "qcode", "data": "a"}}}
	eventually(t, commandTimeout, func(context.Context) error {
		if _, err := k.s.QMP("send-key", press); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			return err
		default:
			return errors.New("no key arrives at the client")
		}
	})
	// struct input_event: 16 bytes of time, type, code, value; KEY_A is 30.
	if got := k.c.must(t, commandTimeout, "od -An -tu1 /tmp/event"); !strings.Contains(
		strings.Join(strings.Fields(got), " "),
		"1 0 30 0",
	) {
		t.Errorf("the event is not the letter a: %s", got)
	}
	k.client.must(t, nil, "release", u.ID)
}

func (k *chain) serialBytesGoBothWays(t *testing.T, _ string) {
	u := k.client.use(t, "workshop", k.share(t, "serial"))
	k.c.must(
		t,
		commandTimeout,
		"until test -c /dev/ttyUSB0; do usleep 100000; done; stty -F /dev/ttyUSB0 115200 raw -echo",
	)
	line, err := net.Dial("unix", filepath.Join(k.s.dir, "serial.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	if err := line.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	type outcome struct {
		out string
		err error
	}
	ended := make(chan outcome, 1)
	go func() {
		out, err := k.c.Exec(ctx, "exec 3<>/dev/ttyUSB0; echo from-client >&3; head -c 10 <&3")
		ended <- outcome{out, err}
	}()
	var got bytes.Buffer
	for buf := make([]byte, 64); !strings.Contains(got.String(), "from-client"); {
		n, err := line.Read(buf)
		if err != nil {
			t.Fatalf("the line says %q: %v", &got, err)
		}
		got.Write(buf[:n])
	}
	if _, err := line.Write([]byte("from-line\n")); err != nil {
		t.Fatal(err)
	}
	if o := <-ended; o.err != nil || !strings.HasPrefix(o.out, "from-line") {
		t.Errorf("the client reads %q, %v", o.out, o.err)
	}
	k.client.must(t, nil, "release", u.ID)
}

func (k *chain) stockUSBIPAttaches(t *testing.T, disk string) {
	u := k.client.use(t, "workshop", disk, "--endpoint")
	if list := k.c.must(t, commandTimeout, "usbip list -r 127.0.0.1"); !strings.Contains(list, u.BusID+": ") {
		t.Fatalf("usbip list does not show %s:\n%s", u.BusID, list)
	}
	k.c.must(t, commandTimeout, "usbip attach -r 127.0.0.1 -b "+u.BusID)
	d := k.c.mountDisk(t)
	k.c.copyOut(t, d, k.files.little)
	k.c.must(t, commandTimeout, "umount /mnt")
	k.c.must(t, commandTimeout, detachUSBIP)
	k.giveBack(t, u.ID)
}

func (k *chain) killedClientFreesTheDevice(t *testing.T, disk string) {
	other := newAgent(t, "other", node{k.lab, "o"}, k.programs.agent, t.TempDir())
	other.up(t, "--rendezvous", k.rendezvous.link)
	pair(t, k.host, other)
	k.client.use(t, "workshop", disk)
	k.c.must(t, commandTimeout, awaitDisk)
	other.fails(t, exitInUse, "", "use", "workshop", disk, "--endpoint")

	k.client.kill(t)
	began := time.Now()
	var u use
	eventually(t, 15*time.Second, func(ctx context.Context) error {
		raw, err := other.run(ctx, "use", "workshop", disk, "--endpoint")
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &u)
	})
	t.Logf("the device is another's %v after its user was killed", time.Since(began).Round(100*time.Millisecond))
	k.c.nothingHangs(t, commandTimeout)
	other.must(t, nil, "release", u.ID)

	k.client.up(t, "--rendezvous", k.rendezvous.link, "--budget", shortBudget.String())
	k.client.has(t, commandTimeout, "its use again after its restart", func(s status) bool {
		return len(s.Uses) == 1 && s.Uses[0].State == "attached"
	})
	k.giveBack(t, k.client.status(t).Uses[0].ID)
}
