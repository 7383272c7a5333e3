package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"reflect"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
)

// farDisk is the disk as this end has it.
type farDisk struct {
	blocks    *io.SectionReader
	blockSize uint32
	where     string
	close     func() error
}

// readDisk reads the whole disk at the far end and compares it with the source.
func (d *Demo) readDisk(ctx context.Context) error {
	disk, err := d.openDisk(ctx)
	if err != nil {
		return err
	}
	err = d.compare(ctx, disk)
	return errors.Join(err, disk.close())
}

// openDisk finds the disk where use has put it.
func (d *Demo) openDisk(ctx context.Context) (*farDisk, error) {
	u, err := d.used(ctx, diskID)
	if err != nil {
		return nil, err
	}
	if !u.Endpoint {
		return d.openKernelDisk(ctx, u.Port)
	}
	dev, err := d.importDevice(ctx, u)
	if err != nil {
		return nil, err
	}
	disk, err := openUSBDisk(ctx, dev)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	disk.where = fmt.Sprintf("%s on USB/IP endpoint %s", u.BusID, u.Address)
	return disk, nil
}

// used is the laptop's use of a device.
func (d *Demo) used(ctx context.Context, id string) (localapi.Use, error) {
	s, err := d.client.Status(ctx)
	if err != nil {
		return localapi.Use{}, fmt.Errorf("status of the %s: %w", clientName, err)
	}
	for _, u := range s.Uses {
		if u.Device == id {
			return u, nil
		}
	}
	return localapi.Use{}, fmt.Errorf("the %s does not use %s", clientName, id)
}

// importDevice takes a device from the laptop's USB/IP endpoint, as any USB/IP
// client does.
func (d *Demo) importDevice(ctx context.Context, u localapi.Use) (usb.Device, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Address)
	if err != nil {
		return nil, fmt.Errorf("USB/IP endpoint of the %s: %w", clientName, err)
	}
	return usbip.Import(ctx, conn, u.BusID)
}

// openUSBDisk speaks SCSI over USB with a disk, as a kernel's driver does.
func openUSBDisk(ctx context.Context, dev usb.Device) (*farDisk, error) {
	scsi, err := massstorage.New(massstorage.Config{Device: dev, Timeout: patience})
	if err != nil {
		return nil, err
	}
	size, err := scsi.Capacity(ctx)
	if err != nil {
		return nil, err
	}
	blocks, err := scsi.Read(ctx)
	if err != nil {
		return nil, err
	}
	return &farDisk{blocks: blocks, blockSize: size.BlockSize, close: dev.Close}, nil
}

// compare reads everything and holds it against the source.
func (d *Demo) compare(ctx context.Context, disk *farDisk) error {
	source, err := virtual.NewSample(virtual.SampleConfig{})
	if err != nil {
		return err
	}
	d.found.Disk.Where, d.found.Disk.Bytes, d.found.Disk.BlockSize = disk.where, disk.blocks.Size(), disk.blockSize
	d.out.say("%s: %d blocks of %d bytes, %s", disk.where, disk.blocks.Size()/int64(disk.blockSize), disk.blockSize, mebibytes(disk.blocks.Size()))
	table, err := massstorage.ReadTable(disk.blocks, disk.blockSize)
	if err != nil {
		return err
	}
	d.showTable(table, disk.blockSize)
	want, err := massstorage.ReadTable(source, disk.blockSize)
	if err != nil {
		return err
	}
	if err := d.check("the partition table is the source's", reflect.DeepEqual(table, want), "the source has %+v", want); err != nil {
		return err
	}
	if err := d.readAll(ctx, disk); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(source, 0, source.Size())); err != nil {
		return err
	}
	d.found.Disk.SourceSHA256 = hex.EncodeToString(sum.Sum(nil))
	d.out.say("SHA-256 of all blocks at the %s    %s", clientName, d.found.Disk.SHA256)
	d.out.say("SHA-256 of the %s's disk itself  %s", hostName, d.found.Disk.SourceSHA256)
	d.out.say("The second is of blocks that this program made by itself: they are noise that is the same every time.")
	return d.check("all blocks are equal to the source's", d.found.Disk.SHA256 == d.found.Disk.SourceSHA256, "the checksums differ")
}

// showTable writes a partition table and notes it.
func (d *Demo) showTable(t massstorage.Table, blockSize uint32) {
	d.found.Disk.Table = t.Kind
	d.out.say("Its partition table (%s):", t.Kind)
	d.out.say("  %-7s %-5s %12s %12s %10s", "number", "type", "first block", "blocks", "size")
	for _, p := range t.Partitions {
		d.found.Disk.Partitions = append(d.found.Disk.Partitions, Partition(p))
		d.out.say("  %-7d %-5s %12d %12d %10s  %s", p.Number, p.Type, p.First, p.Blocks, mebibytes(int64(p.Blocks)*int64(blockSize)), p.Name)
	}
}

// readAll reads all blocks once, in order, and says how fast.
func (d *Demo) readAll(ctx context.Context, disk *farDisk) error {
	began, sum := time.Now(), sha256.New()
	if err := d.copyBlocks(ctx, sum, disk, began); err != nil {
		return err
	}
	took := time.Since(began)
	f := &d.found.Disk
	f.Seconds, f.SHA256 = took.Seconds(), hex.EncodeToString(sum.Sum(nil))
	f.BytesPerSec = float64(f.Bytes) / took.Seconds()
	l, _, err := d.link(ctx)
	if err != nil {
		return err
	}
	d.found.Path.RTTMillis, d.found.Path.Loss = l.RTTMillis, l.Loss
	d.out.say("Read in %.2f s: %.0f MB/s, on one machine, with no distance between the ends.", took.Seconds(), f.BytesPerSec/1e6)
	d.out.say("The link's round trip is %s, its loss %.1f %%.", millis(l.RTTMillis), 100*l.Loss)
	if !l.Since.Equal(d.linked.Since) {
		d.out.say("The link was replaced by another one in the middle: %s, %s → %s", l.Rank, l.Local, l.Remote)
		return nil
	}
	f.LinkBytes = l.BytesReceived - d.linked.BytesReceived
	d.out.say("It brought the %s %.1f MB meanwhile: the disk's %.1f MB and what goes with them.", clientName, float64(f.LinkBytes)/1e6, float64(f.Bytes)/1e6)
	return d.check("the link brought the blocks", f.LinkBytes >= uint64(f.Bytes), "it brought %d bytes only", f.LinkBytes)
}

// copyBlocks reads in the largest pieces that one command may ask for, and says
// how far it is.
func (d *Demo) copyBlocks(ctx context.Context, sum hash.Hash, disk *farDisk, began time.Time) error {
	piece := make([]byte, massstorage.MaxRead)
	size := disk.blocks.Size()
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := disk.blocks.ReadAt(piece[:min(int64(len(piece)), size-at)], at)
		if err != nil {
			return fmt.Errorf("reading the disk: %w", err)
		}
		sum.Write(piece[:n])
		at += int64(n)
		d.out.progress(at, size, "reading: %s of %s, %.0f MB/s", mebibytes(at), mebibytes(size), float64(at)/time.Since(began).Seconds()/1e6)
	}
	return nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

func millis(ms float64) string {
	if ms == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.2f ms", ms)
}
