package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaces is the directory in which ip netns keeps namespaces.
const namespaces = "/run/netns/"

// inNamespace calls f on a thread in the namespace ns.
func inNamespace(ns string, f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("own network namespace: %w", err)
	}
	err = enter(ns, f)
	back := unix.Setns(home, unix.CLONE_NEWNET)
	if back == nil {
		runtime.UnlockOSThread()
	} // otherwise the thread, still locked, ends with the goroutine
	return errors.Join(err, back, unix.Close(home))
}

func enter(ns string, f func() error) error {
	there, err := unix.Open(namespaces+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", ns, err)
	}
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return errors.Join(fmt.Errorf("network namespace %s: %w", ns, err), unix.Close(there))
	}
	return errors.Join(f(), unix.Close(there))
}

// openTun creates a TUN or TAP device in a namespace. The device exists until the
// descriptor is closed.
func openTun(ns, name string, kind uint16) (fd int, err error) {
	err = inNamespace(ns, func() error {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(kind | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("device %s: %w", name, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// run runs a command with in as its standard input. The returned error contains the
// command's output.
func run(in, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Stdin = strings.NewReader(in)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}
