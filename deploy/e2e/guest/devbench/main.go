// Command devbench measures a USB device of a guest and prints the result as one JSON
// document. It reads and writes disks without the page cache.
//
//	devbench appear usbip attach -r 192.0.2.1 -b 2-1       until its disk can be read
//	devbench read -block 1048576 -for 6s /dev/sda          from the start on
//	devbench read -block 4096 -random -most 500 /dev/sda
//	devbench read -streams 4 -for 6s /dev/sda              at four places at once
//	devbench write -from 1073741824 -for 6s /dev/sda       overwrites the disk
//	devbench copy -for 10s /mnt/files /tmp/files           one file after the other
//	devbench events -for 5s /dev/input/event0              counts the reports of an input device
//	devbench play -for 3s /dev/snd/pcmC0D0p                silence, in real time
//	devbench echo -for 3s /dev/ttyUSB0                     one byte to and fro
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "devbench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("want a measurement and its arguments")
	}
	var result any
	var err error
	switch args[0] {
	case "read", "write":
		result, err = transfer(args[0] == "write", args[1:])
	case "appear":
		result, err = appear(args[1:])
	case "copy":
		result, err = copyFiles(args[1:])
	case "events":
		result, err = countEvents(args[1:])
	case "play":
		result, err = play(args[1:])
	case "echo":
		result, err = echo(args[1:])
	default:
		return fmt.Errorf("there is no measurement %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
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
