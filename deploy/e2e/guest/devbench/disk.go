package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"
)

// transfers holds the times of reads or writes of one size.
type transfers struct {
	Bytes        int64     `json:"bytes"`
	Seconds      float64   `json:"seconds"`
	Milliseconds []float64 `json:"milliseconds"` // of each one
}

// plan says which transfers to make.
type plan struct {
	write, random bool
	block         int
	from          int64 // offset of the first byte
	during        time.Duration
	most          int
	streams       int
}

func transfer(write bool, args []string) (*transfers, error) {
	p := plan{write: write}
	flags := flag.NewFlagSet("transfer", flag.ContinueOnError)
	flags.IntVar(&p.block, "block", 1<<20, "bytes of one transfer")
	flags.Int64Var(&p.from, "from", 0, "first byte")
	flags.DurationVar(&p.during, "for", 6*time.Second, "begin no transfer after this time")
	flags.IntVar(&p.most, "most", 1<<20, "transfers at most, of each stream")
	flags.BoolVar(&p.random, "random", false, "at random offsets")
	flags.IntVar(&p.streams, "streams", 1, "places at which to transfer at the same time")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	mode := os.O_RDONLY
	if write {
		mode = os.O_WRONLY
	}
	f, err := os.OpenFile(flags.Arg(0), mode|syscall.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	blocks := (size - p.from) / int64(p.block) / int64(p.streams)
	if blocks <= 0 {
		return nil, fmt.Errorf("%s is too small", f.Name())
	}
	room, err := contiguous(p.streams)
	if err != nil {
		return nil, err
	}
	all := make([]transfers, p.streams)
	errs := make([]error, p.streams)
	var joined sync.WaitGroup
	began := time.Now()
	for n := range all {
		buf, from := room[n*hugePage:][:p.block], p.from+int64(n)*blocks*int64(p.block)
		joined.Go(func() { errs[n] = p.stream(f, buf, from, blocks, &all[n]) })
	}
	joined.Wait()
	sum := &transfers{Seconds: time.Since(began).Seconds()}
	for n := range all {
		if errs[n] != nil {
			return nil, errs[n]
		}
		sum.Bytes += all[n].Bytes
		sum.Milliseconds = append(sum.Milliseconds, all[n].Milliseconds...)
	}
	return sum, nil
}

// stream makes one transfer after the other in the blocks that begin at from.
func (p plan) stream(f *os.File, buf []byte, from, blocks int64, r *transfers) error {
	began := time.Now()
	for n := int64(0); len(r.Milliseconds) < p.most && time.Since(began) < p.during; n++ {
		at := n % blocks
		if p.random {
			at = rand.Int64N(blocks)
		}
		start := time.Now()
		move := f.ReadAt
		if p.write {
			move = f.WriteAt
		}
		got, err := move(buf, from+at*int64(p.block))
		if err != nil {
			return err
		}
		r.Milliseconds = append(r.Milliseconds, time.Since(start).Seconds()*1000)
		r.Bytes += int64(got)
	}
	return nil
}

// hugePage is the size of a huge page in bytes, and the longest transfer.
const hugePage = 2 << 20

// contiguous returns n huge pages. vhci_hcd accepts 32 segments, so a transfer of 1 MiB
// with scattered pages becomes up to 8 commands, at random.
func contiguous(n int) ([]byte, error) {
	if err := os.WriteFile("/proc/sys/vm/nr_hugepages", fmt.Append(nil, n+1), 0); err != nil {
		return nil, fmt.Errorf("huge pages: %w", err)
	}
	room, err := syscall.Mmap(-1, 0, n*hugePage,
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_HUGETLB)
	if err != nil {
		return nil, fmt.Errorf("huge pages: %w", err)
	}
	return room, nil
}
