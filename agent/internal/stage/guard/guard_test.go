package guard_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newDisk(fault func(op byte, unit uint8, first, count uint64) stagetest.Fault) *stagetest.Disk {
	return stagetest.NewDisk(stagetest.DiskConfig{
		Units: 1, BlockSize: 512, Blocks: 1 << 16, MaxPacket: 512, Fault: fault,
	})
}

// read returns the marked URBs of a READ of one block: command, data, status.
func read(m guard.Mark, block uint64) [3]*usb.URB {
	w := make([]byte, 31)
	copy(w, "USBC")
	binary.LittleEndian.PutUint32(w[4:], m.Number)
	binary.LittleEndian.PutUint32(w[8:], 512)
	w[12], w[14] = 0x80, 16
	copy(w[15:], stagetest.Read(block, 1))
	urbs := [3]*usb.URB{
		{Endpoint: stagetest.DiskOut, Data: w},
		{Endpoint: stagetest.DiskIn, Data: make([]byte, 512)},
		{Endpoint: stagetest.DiskIn, Data: make([]byte, 13)},
	}
	for i, u := range urbs {
		m.Role = guard.Role(i) + guard.Command
		m.Set(u)
		u.Status = usb.StatusInProgress
		u.Done = func(*usb.URB) {}
	}
	return urbs
}

// statuses fails the test unless the three URBs have these statuses.
func statuses(t *testing.T, name string, urbs [3]*usb.URB, want ...usb.Status) {
	t.Helper()
	for i, u := range urbs {
		if u.Status != want[i] {
			t.Errorf("%s, part %d: status %d, want %d", name, i, u.Status, want[i])
		}
	}
}

func TestPartsRunInOrderHoweverTheyArrive(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 5))
	for range 200 {
		disk := newDisk(nil)
		g := guard.New(disk)
		var lanes [2][]*usb.URB // the lane of each endpoint keeps its order
		var all [][3]*usb.URB
		for n := range uint32(10) {
			urbs := read(guard.Mark{Epoch: 1, Number: n + 1, Urgent: random.IntN(2) == 0}, uint64(n))
			all = append(all, urbs)
			lanes[0] = append(lanes[0], urbs[0])
			lanes[1] = append(lanes[1], urbs[1], urbs[2])
		}
		for len(lanes[0])+len(lanes[1]) > 0 {
			l := &lanes[random.IntN(2)]
			if len(*l) > 0 {
				g.Submit((*l)[0])
				*l = (*l)[1:]
			}
		}
		for n, urbs := range all {
			statuses(t, "a read", urbs, 0, 0, 0)
			if want := disk.Block(0, uint64(n)); string(urbs[1].Data) != string(want) {
				t.Fatalf("block %d has wrong data", n)
			}
		}
		if disk.Early() > 0 {
			t.Fatal("a command came before the status of the previous one was fetched")
		}
		_ = g.Close()
	}
}

func TestNothingFollowsAFailedCommand(t *testing.T) {
	for fault := stagetest.FailStall; fault < stagetest.Hang; fault++ {
		if fault == stagetest.ShortData || fault == stagetest.StallStatus {
			continue // a good status
		}
		disk := newDisk(func(_ byte, _ uint8, first, _ uint64) stagetest.Fault {
			if first == 1 {
				return fault
			}
			return stagetest.NoFault
		})
		g := guard.New(disk)
		var all [][3]*usb.URB
		for n := range uint32(3) {
			all = append(all, read(guard.Mark{Epoch: 1, Number: n + 1}, uint64(n)))
			for _, u := range all[n] {
				g.Submit(u)
			}
		}
		statuses(t, "the first", all[0], 0, 0, 0)
		statuses(t, "after the failure", all[2], usb.StatusReset, usb.StatusReset, usb.StatusReset)
		if disk.Commands() != 2 {
			t.Errorf("fault %d: the disk got %d commands", fault, disk.Commands())
		}
		late := read(guard.Mark{Epoch: 1, Number: 9}, 9)
		for _, u := range late {
			g.Submit(u)
		}
		statuses(t, "of the same epoch", late, usb.StatusReset, usb.StatusReset, usb.StatusReset)
		for _, s := range []usb.Setup{
			{Type: 0x21, Request: 0xff}, {Type: 2, Request: 1, Index: 0x81}, {Type: 2, Request: 1, Index: 2},
		} {
			usb.Do(t.Context(), g, &usb.URB{Setup: s.Bytes()})
		}
		next := read(guard.Mark{Epoch: 2, Number: 10}, 10)
		for _, u := range next {
			g.Submit(u)
		}
		statuses(t, "of the next epoch", next, 0, 0, 0)
		_ = g.Close()
	}
}

// TestHaltedStatusIsFetchedAgain reads from a disk that halts the endpoint once instead of
// a status.
func TestHaltedStatusIsFetchedAgain(t *testing.T) {
	disk := newDisk(func(_ byte, _ uint8, first, _ uint64) stagetest.Fault {
		if first == 0 {
			return stagetest.StallStatus
		}
		return stagetest.NoFault
	})
	g := guard.New(disk)
	defer g.Close()
	for n := range uint32(2) {
		urbs := read(guard.Mark{Epoch: 1, Number: n + 1}, uint64(n))
		for _, u := range urbs {
			g.Submit(u)
		}
		statuses(t, "a read", urbs, 0, 0, 0)
	}
}

// TestStatusThatStaysHaltedFails gives the status to the client if the halt cannot be cleared.
func TestStatusThatStaysHaltedFails(t *testing.T) {
	disk := newDisk(func(byte, uint8, uint64, uint64) stagetest.Fault { return stagetest.StallStatus })
	g := guard.New(&haltedDisk{Disk: disk})
	defer g.Close()
	urbs := read(guard.Mark{Epoch: 1, Number: 1}, 0)
	for _, u := range urbs {
		g.Submit(u)
	}
	statuses(t, "a read", urbs, 0, 0, usb.StatusStall)
}

// haltedDisk is a disk whose endpoints stay halted.
type haltedDisk struct{ *stagetest.Disk }

func (d *haltedDisk) Submit(u *usb.URB) {
	if u.SetupPacket().Change() == usb.ClearHalt {
		u.Finish(usb.StatusStall)
		return
	}
	d.Disk.Submit(u)
}

func TestUrgentReadOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(nil)
		path := stagetest.NewPath(disk, stagetest.PathConfig{Delay: time.Millisecond}) // a slow disk
		g := guard.New(path)
		defer g.Close()
		var ended []uint32
		for n := range uint32(5) {
			urbs := read(guard.Mark{Epoch: 1, Number: n, Urgent: n == 4}, uint64(n))
			urbs[2].Done = func(*usb.URB) { ended = append(ended, n) }
			for _, u := range urbs {
				g.Submit(u)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(ended) != 5 || ended[0] != 0 || ended[1] != 4 {
			t.Errorf("the reads ended in the order %v", ended)
		}
	})
}

func TestReadAheadThatHangsTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(func(byte, uint8, uint64, uint64) stagetest.Fault { return stagetest.Hang })
		g := guard.New(disk)
		defer g.Close()
		urbs := read(guard.Mark{Epoch: 1, Number: 1}, 0)
		for _, u := range urbs {
			g.Submit(u)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		statuses(t, "a read ahead", urbs, 0, usb.StatusTimeout, usb.StatusReset)
	})
}

func TestCancelledReadNeverReachesTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(nil)
		g := guard.New(stagetest.NewPath(disk, stagetest.PathConfig{Delay: time.Millisecond}))
		defer g.Close()
		var all [][3]*usb.URB
		for n := range uint32(3) {
			all = append(all, read(guard.Mark{Epoch: 1, Number: n}, uint64(n)))
			for _, u := range all[n] {
				g.Submit(u)
			}
		}
		g.Cancel(all[1][0])
		time.Sleep(time.Second)
		synctest.Wait()
		statuses(t, "the first", all[0], 0, 0, 0)
		statuses(t, "the cancelled one", all[1], usb.StatusReset, usb.StatusReset, usb.StatusReset)
		statuses(t, "the last", all[2], 0, 0, 0)
		if disk.Commands() != 2 {
			t.Errorf("the disk got %d commands", disk.Commands())
		}
	})
}

func FuzzGuard(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Fuzz(func(t *testing.T, input []byte) {
		disk := newDisk(nil)
		g := guard.New(disk)
		var all []*usb.URB
		completed := map[*usb.URB]int{}
		for i := 0; i+1 < len(input) && i < 400; i += 2 {
			a, b := input[i], input[i+1]
			if a&0x80 != 0 && len(all) > 0 {
				g.Cancel(all[int(b)%len(all)])
				continue
			}
			urbs := read(guard.Mark{Epoch: uint32(a >> 5 & 1), Number: uint32(b & 7), Urgent: a&8 != 0}, uint64(b))
			u := urbs[int(a&7)%3]
			if a&16 != 0 {
				guard.Clear(u)
			}
			u.Done = func(u *usb.URB) { completed[u]++ }
			all = append(all, u)
			g.Submit(u)
		}
		_ = g.Close()
		for _, u := range all {
			if completed[u] != 1 {
				t.Fatalf("an URB completed %d times", completed[u])
			}
		}
	})
}
