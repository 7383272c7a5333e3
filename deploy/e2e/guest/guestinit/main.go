// Command guestinit is the init program of a guest. It mounts the usual file systems,
// loads modules for the devices that appear, configures the network from the kernel
// command line, and runs programs for the test.
//
// The command line's parameters are guest.name, guest.ip and guest.gw (the
// network device's address with its prefix length, and the router), and
// guest.modules (loaded at the start, separated by commas).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest/frame"
)

// deviceTimeout bounds the wait for a device that the guest has.
const deviceTimeout = 60 * time.Second

func main() {
	if os.Getpid() == 1 {
		fmt.Fprintln(os.Stderr, "guest init:", firstProcess())
		return // the kernel panics, which ends the guest
	}
	fmt.Fprintln(os.Stderr, "guest init:", serve()) // the port never closes by itself
	os.Exit(1)
}

// firstProcess mounts file systems, starts the server as a child process and reaps
// orphans until the server ends.
func firstProcess() error {
	mounts := []struct{ kind, at string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"devpts", "/dev/pts"},
		{"tmpfs", "/tmp"},
		{"tmpfs", "/run"},
		{"debugfs", "/sys/kernel/debug"},
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	c := exec.Command("/init", "serve")
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == nil && pid == c.Process.Pid {
			return fmt.Errorf("the server ended with status %#x", int(status))
		}
	}
}

// serve sets the guest up and runs programs until the port closes.
func serve() error {
	facts := frame.Facts{Init: uptime()}
	p := parameters()
	if err := syscall.Sethostname([]byte(p["name"])); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := modprobe("virtio_pci", "virtio_console"); err != nil {
		return err
	}
	plug, err := watchDevices()
	if err != nil {
		return err
	}
	if p["modules"] != "" {
		if err := modprobe(strings.Split(p["modules"], ",")...); err != nil {
			return err
		}
	}
	if err := network(p["ip"], p["gw"]); err != nil {
		return err
	}
	plug.settle()
	facts.Settled = uptime()

	port, err := openPort("guest")
	if err != nil {
		return err
	}
	said, err := json.Marshal(facts)
	if err != nil {
		return err
	}
	s := &server{w: frame.NewWriter(port), sessions: map[uint32]*session{}}
	if err := s.w.Write(frame.Ready, 0, said); err != nil {
		return err
	}
	return s.run(bufio.NewReader(port))
}

// parameters returns the kernel parameters that begin with "guest.".
func parameters() map[string]string {
	raw, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil
	}
	m := map[string]string{}
	for _, f := range strings.Fields(string(raw)) {
		if k, v, ok := strings.Cut(f, "="); ok && strings.HasPrefix(k, "guest.") {
			m[strings.TrimPrefix(k, "guest.")] = v
		}
	}
	return m
}

func uptime() string {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return err.Error()
	}
	s, _, _ := strings.Cut(string(b), " ")
	return s
}

func run(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

func modprobe(names ...string) error {
	return run(append([]string{"modprobe", "-b", "-a"}, names...)...)
}

// network configures the guest's only network device.
func network(ip, gw string) error {
	if err := run("ip", "link", "set", "lo", "up"); err != nil || ip == "" {
		return err
	}
	if err := modprobe("virtio_net"); err != nil {
		return err
	}
	if err := await("network device eth0", func() bool {
		_, err := os.Stat("/sys/class/net/eth0")
		return err == nil
	}); err != nil {
		return err
	}
	return errors.Join(
		run("ip", "addr", "add", ip, "dev", "eth0"),
		run("ip", "link", "set", "eth0", "up"),
		run("ip", "route", "add", "default", "via", gw),
	)
}

// await checks a condition every 20 ms until it is true.
func await(what string, there func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deviceTimeout); !there(); <-tick.C {
		if time.Now().After(end) {
			return fmt.Errorf("%s: not there after %v", what, deviceTimeout)
		}
	}
	return nil
}

// openPort opens the virtio serial port with a name.
func openPort(name string) (*os.File, error) {
	device := ""
	if err := await("serial port "+name, func() bool {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, f := range names {
			if b, e := os.ReadFile(f); e == nil && strings.TrimSpace(string(b)) == name {
				device = "/dev/" + filepath.Base(filepath.Dir(f))
			}
		}
		return err == nil && device != ""
	}); err != nil {
		return nil, err
	}
	// The descriptor is blocking, because the runtime's poller does not work with virtio ports.
	fd, err := syscall.Open(device, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("serial port %s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
