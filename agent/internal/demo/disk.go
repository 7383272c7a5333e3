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

// remoteDisk is the disk of the workshop, as the laptop reads it.
type remoteDisk struct {
	blocks    *io.SectionReader
	blockSize uint32
	where     string // for people
	close     func() error
}

// readDisk reads the whole disk on the laptop and compares it with its source.
func (d *Demo) readDisk(ctx context.Context) error {
	disk, err := d.openDisk(ctx)
	if err != nil {
		return err
	}
	return errors.Join(d.compareDisk(ctx, disk), disk.close())
}

// openDisk opens the disk where the step use has attached it.
func (d *Demo) openDisk(ctx context.Context) (*remoteDisk, error) {
	u, err := useOf(ctx, d.client, diskID)
	if err != nil {
		return nil, err
	}
	if !u.Endpoint {
		return d.openKernelDisk(ctx, u.Port)
	}
	dev, err := importDevice(ctx, u)
	if err != nil {
		return nil, err
	}
	disk, err := openUSBDisk(ctx, dev, d.processes.stepTimeout)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	disk.where = fmt.Sprintf("%s on USB/IP endpoint %s", u.BusID, u.Address)
	return disk, nil
}

// useOf returns the laptop's use of a device.
func useOf(ctx context.Context, laptop *localapi.Client, device string) (localapi.Use, error) {
	s, err := laptop.Status(ctx)
	if err != nil {
		return localapi.Use{}, fmt.Errorf("status of the %s: %w", clientName, err)
	}
	for _, u := range s.Uses {
		if u.Device == device {
			return u, nil
		}
	}
	return localapi.Use{}, fmt.Errorf("the %s does not use %s", clientName, device)
}

// importDevice imports a device from the laptop's USB/IP endpoint, as any USB/IP client
// can.
func importDevice(ctx context.Context, u localapi.Use) (usb.Device, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Address)
	if err != nil {
		return nil, fmt.Errorf("USB/IP endpoint of the %s: %w", clientName, err)
	}
	return usbip.Import(ctx, conn, u.BusID)
}

// openUSBDisk opens a disk by SCSI commands over USB, as the driver of a kernel does.
func openUSBDisk(ctx context.Context, dev usb.Device, timeout time.Duration) (*remoteDisk, error) {
	scsi, err := massstorage.New(massstorage.Config{Device: dev, Timeout: timeout})
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
	return &remoteDisk{blocks: blocks, blockSize: size.BlockSize, close: dev.Close}, nil
}

// compareDisk reads the partition table and all blocks, and compares them with the
// source.
func (d *Demo) compareDisk(ctx context.Context, disk *remoteDisk) error {
	source, err := virtual.NewSample(virtual.SampleConfig{})
	if err != nil {
		return err
	}
	f, size := &d.found.Disk, disk.blocks.Size()
	f.Where, f.Bytes, f.BlockSize = disk.where, size, disk.blockSize
	d.printf("%s: %d blocks of %d bytes, %s",
		disk.where, size/int64(disk.blockSize), disk.blockSize, mebibytes(size))
	table, err := massstorage.ReadTable(disk.blocks, disk.blockSize)
	if err != nil {
		return err
	}
	d.showTable(table, disk.blockSize)
	want, err := massstorage.ReadTable(source, disk.blockSize)
	if err != nil {
		return err
	}
	same := reflect.DeepEqual(table, want)
	if err := d.check("the partition table equals that of the source", same, "the source has %+v", want); err != nil {
		return err
	}
	if err := d.readAllBlocks(ctx, disk); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(source, 0, source.Size())); err != nil {
		return err
	}
	f.SourceSHA256 = hex.EncodeToString(sum.Sum(nil))
	d.printf("SHA-256 of all blocks on the %s       %s", clientName, f.SHA256)
	d.printf("SHA-256 of the source in the %s     %s", hostName, f.SourceSHA256)
	d.printf("The source is random data that this program has generated again: it is the same in every run.")
	return d.check("all blocks equal those of the source", f.SHA256 == f.SourceSHA256, "the checksums differ")
}

// showTable reports a partition table.
func (s *story) showTable(t massstorage.Table, blockSize uint32) {
	s.found.Disk.Table = t.Kind
	s.printf("Its partition table (%s):", t.Kind)
	s.printf("  %-7s %-5s %12s %12s %10s", "number", "type", "first block", "blocks", "size")
	for _, p := range t.Partitions {
		s.found.Disk.Partitions = append(s.found.Disk.Partitions, Partition(p))
		size := mebibytes(int64(p.Blocks) * int64(blockSize))
		s.printf("  %-7d %-5s %12d %12d %10s  %s", p.Number, p.Type, p.First, p.Blocks, size, p.Name)
	}
}

// readAllBlocks reads all blocks once, in order, and reports the speed.
func (d *Demo) readAllBlocks(ctx context.Context, disk *remoteDisk) error {
	began, sum := time.Now(), sha256.New()
	if err := d.copyBlocks(ctx, sum, disk.blocks); err != nil {
		return err
	}
	took := time.Since(began)
	f := &d.found.Disk
	f.Seconds, f.SHA256 = took.Seconds(), hex.EncodeToString(sum.Sum(nil))
	f.BytesPerSec = float64(f.Bytes) / took.Seconds()
	l, _, err := linkOf(ctx, d.client)
	if err != nil {
		return err
	}
	d.found.Path.RTTMillis, d.found.Path.Loss = l.RTTMillis, l.Loss
	d.printf("Read in %.2f s: %.0f MB/s, on one machine, without a network in between.",
		took.Seconds(), f.BytesPerSec/1e6)
	d.printf("The round trip of the link is %s, its loss %.1f %%.", millis(l.RTTMillis), 100*l.Loss)
	if !l.Since.Equal(d.firstLink.Since) {
		d.printf("Another link has replaced the first one meanwhile: %s, %s → %s", l.Rank, l.Local, l.Remote)
		return nil
	}
	f.LinkBytes = l.BytesReceived - d.firstLink.BytesReceived
	d.printf("It brought %.1f MB to the %s: the %.1f MB of the disk and the overhead.",
		float64(f.LinkBytes)/1e6, clientName, float64(f.Bytes)/1e6)
	return d.check("the link carried the blocks", f.LinkBytes >= uint64(f.Bytes),
		"it carried only %d bytes", f.LinkBytes)
}

// copyBlocks copies the blocks to sum and reports the progress. It reads as much as one
// SCSI command can return at a time.
func (s *story) copyBlocks(ctx context.Context, sum hash.Hash, blocks *io.SectionReader) error {
	buf := make([]byte, massstorage.MaxRead)
	began, size := time.Now(), blocks.Size()
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := blocks.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if err != nil {
			return fmt.Errorf("reading the disk: %w", err)
		}
		sum.Write(buf[:n])
		at += int64(n)
		speed := float64(at) / time.Since(began).Seconds() / 1e6
		s.progress(at, size, "reading: %s of %s, %.0f MB/s", mebibytes(at), mebibytes(size), speed)
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
