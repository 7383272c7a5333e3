package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// reports holds how many reports of an input device have arrived.
type reports struct {
	Reports int `json:"reports"`
}

// countEvents counts the reports of an input device. It prints a line to standard error
// once it listens.
func countEvents(args []string) (*reports, error) {
	// struct input_event on 64-bit machines: 16 bytes of time, type 2, code 2, value 4.
	const eventSize, synReport = 24, 0
	flags := flag.NewFlagSet("events", flag.ContinueOnError)
	during := flags.Duration("for", 5*time.Second, "listen for this time")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	f, err := os.Open(flags.Arg(0))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(*during)); err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stderr, "listening")
	r := &reports{}
	for buf := make([]byte, 64*eventSize); ; {
		n, err := f.Read(buf)
		for at := 0; at+eventSize <= n; at += eventSize {
			if binary.LittleEndian.Uint32(buf[at+16:]) == synReport {
				r.Reports++
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// echo writes a byte to a serial line and waits until it comes back, again and again.
func echo(args []string) (*transfers, error) {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	during := flags.Duration("for", 3*time.Second, "begin no exchange after this time")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(flags.Arg(0), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &transfers{}
	began := time.Now()
	for buf := []byte("."); time.Since(began) < *during; {
		start := time.Now()
		if _, err := f.Write(buf); err != nil {
			return nil, err
		}
		if _, err := f.Read(buf); err != nil {
			return nil, err
		}
		r.Milliseconds = append(r.Milliseconds, time.Since(start).Seconds()*1000)
		r.Bytes++
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}
