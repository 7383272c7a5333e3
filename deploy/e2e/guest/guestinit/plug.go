package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	quiet       = 300 * time.Millisecond // without events: all devices are present
	maxSettling = 20 * time.Second
	maxEvent    = 64 << 10 // bytes
)

// moduleLoader loads modules for devices as they appear, as udev does.
type moduleLoader struct {
	last    atomic.Int64 // time of the last event, Unix time in nanoseconds
	aliases chan string
}

// watchDevices listens for events of the kernel and triggers events for the devices
// that are already present.
func watchDevices() (*moduleLoader, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("device events: %w", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 4<<20); err != nil {
		return nil, fmt.Errorf("device events: buffer: %w", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK, Groups: 1}); err != nil {
		return nil, fmt.Errorf("device events: %w", err)
	}
	p := &moduleLoader{aliases: make(chan string, 4096)}
	p.touch()
	go p.load()
	go p.listen(fd)
	for _, bus := range []string{"pci", "virtio"} {
		events, err := filepath.Glob("/sys/bus/" + bus + "/devices/*/uevent")
		if err != nil {
			return nil, err
		}
		for _, f := range events {
			if err := os.WriteFile(f, []byte("add"), 0o200); err != nil {
				return nil, fmt.Errorf("device events: %w", err)
			}
		}
	}
	return p, nil
}

func (p *moduleLoader) touch() { p.last.Store(time.Now().UnixNano()) }

// listen runs until the guest ends.
func (p *moduleLoader) listen(fd int) {
	buf := make([]byte, maxEvent)
	for {
		n, _, err := syscall.Recvfrom(fd, buf, 0)
		if err != nil {
			continue // ENOBUFS: the kernel dropped events, more will come
		}
		p.touch()
		add, alias := false, ""
		for field := range strings.SplitSeq(string(buf[:n]), "\x00") {
			if v, ok := strings.CutPrefix(field, "MODALIAS="); ok {
				alias = v
			}
			add = add || field == "ACTION=add"
		}
		if add && alias != "" {
			p.aliases <- alias
		}
	}
}

// load runs until the guest ends.
func (p *moduleLoader) load() {
	seen := map[string]bool{}
	for alias := range p.aliases {
		if !seen[alias] {
			seen[alias] = true
			// Most aliases have no module in this small guest. The program that needs the device
			// gives a better error.
			if err := exec.Command("modprobe", "-q", "-b", alias).Run(); err == nil {
				p.touch()
			}
		}
	}
}

// settle waits until no event has come for a while.
func (p *moduleLoader) settle() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(maxSettling); time.Now().Before(end); <-tick.C {
		if len(p.aliases) == 0 && time.Since(time.Unix(0, p.last.Load())) >= quiet {
			return
		}
	}
}
