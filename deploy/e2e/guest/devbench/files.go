package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// copies holds how many files were copied in which time.
type copies struct {
	Files   int     `json:"files"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"` // includes writing them to the disk
}

// copyFiles copies the files of a directory, and makes the kernel write them to the
// disk (sync(2)).
func copyFiles(args []string) (*copies, error) {
	flags := flag.NewFlagSet("copy", flag.ContinueOnError)
	during := flags.Duration("for", 10*time.Second, "begin no file after this time")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	from, to := flags.Arg(0), flags.Arg(1)
	r := &copies{}
	began := time.Now()
	if err := os.MkdirAll(to, 0o755); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(from)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if time.Since(began) > *during {
			break
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), data, 0o644)
		}
		if err != nil {
			return nil, err
		}
		r.Files++
		r.Bytes += int64(len(data))
	}
	syscall.Sync()
	r.Seconds = time.Since(began).Seconds()
	if r.Files == 0 {
		return nil, errors.New("no file was copied")
	}
	return r, nil
}
