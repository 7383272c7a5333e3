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
	quiet       = 300 * time.Millisecond // without events: all devices are there
	maxSettling = 20 * time.Second
	maxEvent    = 64 << 10 // bytes
)

// plugging loads modules for devices as they appear, as udev does.
type plugging struct {
	last    atomic.Int64 // when something happened, Unix time in nanoseconds
	aliases chan string
}

// watchPlugging listens to the kernel and lets it tell of the devices that it
// found before.
func watchPlugging() (*plugging, error) {
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
	p := &plugging{aliases: make(chan string, 4096)}
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

func (p *plugging) touch() { p.last.Store(time.Now().UnixNano()) }

// listen runs for as long as the guest.
func (p *plugging) listen(fd int) {
	buf := make([]byte, maxEvent)
	for {
		n, _, err := syscall.Recvfrom(fd, buf, 0)
		if err != nil {
			continue // ENOBUFS: some were lost, more will come
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

// load runs for as long as the guest.
func (p *plugging) load() {
	seen := map[string]bool{}
	for alias := range p.aliases {
		if !seen[alias] {
			seen[alias] = true
			// Most aliases have no module in this small guest; the program that
			// misses a device says so better.
			if err := exec.Command("modprobe", "-q", "-b", alias).Run(); err == nil {
				p.touch()
			}
		}
	}
}

// settle waits until nothing has appeared for a while.
func (p *plugging) settle() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(maxSettling); time.Now().Before(end); <-tick.C {
		if len(p.aliases) == 0 && time.Since(time.Unix(0, p.last.Load())) >= quiet {
			return
		}
	}
}
