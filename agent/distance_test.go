package agent_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
)

// guardedPath is a path to a device with a guard.
type guardedPath struct{ *stagetest.Path }

func (guardedPath) Guarded() bool { return true }

// BenchmarkDistantDisk reads and writes a software disk over a TLS link on loopback and
// a path with a delay and a rate of 60 MiB/s, without and with the storage stage and its
// write cache. With a round trip of 0, the path is left out.
func BenchmarkDistantDisk(b *testing.B) {
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 50 * time.Millisecond} {
		for name, stages := range map[string]stage.Config{
			"none": {Off: true}, "stage": {}, "cache": {WriteCache: true},
		} {
			b.Run(fmt.Sprintf("rtt=%v/%s", rtt, name), func(b *testing.B) {
				remote := throughSession(b, softwareDiskOf(b, 128<<20), dialTCP(tcplink.TLS))
				if rtt > 0 {
					cfg := stagetest.PathConfig{Delay: rtt / 2, Rate: 60 << 20}
					remote = guardedPath{stagetest.NewPath(remote, cfg)}
				}
				dev := stage.Wrap(remote, stages)
				b.Cleanup(func() { dev.Close() })
				benchmarkDisk(b, dev)
			})
		}
	}
}

func benchmarkDisk(b *testing.B, dev usb.Device) {
	disk, err := massstorage.New(massstorage.Config{Device: dev})
	if err != nil {
		b.Fatal(err)
	}
	blocks, err := disk.Read(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	run := func(name string, size int64, do func(n int64) error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for n := int64(0); b.Loop(); n++ {
				if err := do(n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, c := range []massstorage.Command{ // the driver learns of the write cache
		{Block: []byte{0x12, 0, 0, 0, 36, 0}, In: make([]byte, 36)},
		{Block: []byte{0x1a, 0, 0x3f, 0, 192, 0}, In: make([]byte, 192)},
	} {
		if _, err := disk.Do(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	buf := make([]byte, 1<<20)
	run("read1MiB", 1<<20, func(n int64) error {
		_, err := blocks.ReadAt(buf, n<<20%blocks.Size())
		return err
	})
	run("read4KiB", 4<<10, func(n int64) error {
		_, err := blocks.ReadAt(buf[:4<<10], n*7919<<12%blocks.Size())
		return err
	})
	run("write1MiB", 1<<20, func(n int64) error {
		block := []byte{0x2a, 0, 0, 0, 0, 0, 0, 1 << 20 / 512 >> 8, 0, 0}
		binary.BigEndian.PutUint32(block[2:], uint32(n<<20%blocks.Size()/512))
		_, err := disk.Do(b.Context(), massstorage.Command{Block: block, Out: buf})
		if err == nil && n%128 == 127 {
			_, err = disk.Do(b.Context(), massstorage.Command{Block: []byte{0x35, 9: 0}}) // SYNCHRONIZE CACHE
		}
		return err
	})
}

// TestStagedDiskSurvivesLinkLoss reads a disk through the storage stage and a session
// whose link is replaced again and again.
func TestStagedDiskSurvivesLinkLoss(t *testing.T) {
	local := softwareDisk(t)
	remote, relink := attachThroughSession(t, local, dialTCP(tcplink.TLS))
	dev := stage.Wrap(remote, stage.Config{})
	defer dev.Close()
	disk, err := massstorage.New(massstorage.Config{Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := disk.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	buf := make([]byte, 256<<10)
	for at := int64(0); at < blocks.Size(); at += int64(len(buf)) {
		if at>>20%4 == 3 && at%(1<<20) == 0 {
			relink()
		}
		if _, err := blocks.ReadAt(buf, at); err != nil {
			t.Fatal(err)
		}
		got.Write(buf)
	}
	for _, s := range dev.Stats() {
		if s.Name == "storage" && (s.Off != "" || s.Hits == 0) {
			t.Errorf("the stage did not work: %+v", s)
		}
	}
	dev.Close()
	if !bytes.Equal(got.Bytes(), readAll(t, local)) {
		t.Error("the bytes read differ from the disk")
	}
}
