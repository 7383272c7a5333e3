// Command blkbench measures a block device of a guest, bypassing the page cache, and
// prints the result as one JSON document.
//
//	blkbench read -block 1048576 -for 6s /dev/sda       from the start on
//	blkbench read -block 4096 -random -most 500 /dev/sda
//	blkbench appear usbip attach -r 192.0.2.1 -b 2-1    until its disk can be read
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "blkbench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("want read FLAGS DEVICE, or appear COMMAND")
	}
	var result any
	var err error
	switch args[0] {
	case "read":
		result, err = read(args[1:])
	case "appear":
		result, err = appear(args[1:])
	default:
		return fmt.Errorf("%q is neither read nor appear", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// readings holds the times of reads of one size, one after the other.
type readings struct {
	Bytes        int64     `json:"bytes"`
	Seconds      float64   `json:"seconds"`
	Milliseconds []float64 `json:"milliseconds"` // of each read
}

func read(args []string) (*readings, error) {
	flags := flag.NewFlagSet("read", flag.ContinueOnError)
	block := flags.Int("block", 1<<20, "bytes of one read")
	during := flags.Duration("for", 6*time.Second, "begin no read after this time")
	most := flags.Int("most", 1<<20, "reads at most")
	random := flags.Bool("random", false, "at random offsets")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(flags.Arg(0), os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	blocks := size / int64(*block)
	if blocks == 0 {
		return nil, fmt.Errorf("%s is smaller than one read", f.Name())
	}
	room, err := contiguous(*block)
	if err != nil {
		return nil, err
	}
	r := &readings{}
	began := time.Now()
	for n := int64(0); len(r.Milliseconds) < *most && time.Since(began) < *during; n++ {
		at := n % blocks
		if *random {
			at = rand.Int64N(blocks)
		}
		start := time.Now()
		got, err := f.ReadAt(room, at*int64(*block))
		if err != nil {
			return nil, err
		}
		r.Milliseconds = append(r.Milliseconds, time.Since(start).Seconds()*1000)
		r.Bytes += int64(got)
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// contiguous returns n bytes in huge pages. vhci_hcd accepts 32 segments, so a read of
// 1 MiB into scattered pages becomes up to 8 commands, at random.
func contiguous(n int) ([]byte, error) {
	const huge = 2 << 20
	if err := os.WriteFile("/proc/sys/vm/nr_hugepages", []byte("2"), 0); err != nil {
		return nil, fmt.Errorf("huge pages: %w", err)
	}
	size := (n + huge - 1) / huge * huge
	room, err := syscall.Mmap(
		-1,
		0,
		size,
		syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_HUGETLB,
	)
	if err != nil {
		return nil, fmt.Errorf("huge pages: %w", err)
	}
	return room[:n], nil
}

// appearance holds the time until a disk was ready.
type appearance struct {
	Disk    string  `json:"disk"`
	Seconds float64 `json:"seconds"` // from the start of the command until a block could be read
	Command float64 `json:"command"` // seconds until the command ended
}

const timeout = time.Minute

// appear runs a command and waits until a block of the guest's only disk can be read.
func appear(argv []string) (*appearance, error) {
	began := time.Now()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	a := &appearance{Command: time.Since(began).Seconds()}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; time.Since(began) < timeout; <-tick.C {
		found, err := filepath.Glob("/sys/block/sd*")
		if err != nil {
			return nil, err
		}
		if len(found) == 1 && readable(filepath.Base(found[0])) {
			a.Disk, a.Seconds = filepath.Base(found[0]), time.Since(began).Seconds()
			return a, nil
		}
	}
	return nil, fmt.Errorf("no disk %v after %s", timeout, strings.Join(argv, " "))
}

// readable reports whether a disk has a size and its first block can be read.
func readable(disk string) bool {
	size, err := os.ReadFile("/sys/block/" + disk + "/size")
	if err != nil || strings.TrimSpace(string(size)) == "0" {
		return false
	}
	f, err := os.Open("/dev/" + disk)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.ReadAt(make([]byte, 4096), 0)
	return err == nil
}
