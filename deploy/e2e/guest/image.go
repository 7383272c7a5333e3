package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Image holds the files on this machine that guests boot.
type Image struct {
	Kernel    string // the ELF kernel
	Initramfs string // an uncompressed archive
}

// programs are copied from this machine into the guests, with their libraries. The
// values are their packages. The programs of qemu, kmod and xz-utils run here.
var programs = map[string]string{
	"ip": "iproute2", "tc": "iproute2", "usbip": "usbip", "usbipd": "usbip", "lsusb": "usbutils",
	"mke2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "dd": "coreutils", "dash": "dash", "busybox": "busybox-static",
}

var hostPrograms = map[string]string{
	"qemu-system-x86_64": "qemu-system-x86", "depmod": "kmod", "xz": "xz-utils", "ldd": "libc-bin",
	"dpkg": "dpkg", "apt-get": "apt", "apt-cache": "apt",
}

// Usable returns the reason why this machine cannot run a guest, or nil.
func Usable() error {
	var missing []string
	for _, set := range []map[string]string{programs, hostPrograms} {
		for name, pkg := range set {
			if _, err := LookPath(name); err != nil {
				missing = append(missing, pkg)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("guests: programs are missing; apt-get install %s", strings.Join(missing, " "))
	}
	return nil
}

// LookPath finds a program, also in the directories that only root's PATH contains.
func LookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %s is not installed", name)
}

// Build creates the image in the cache directory, which it creates too. The first call
// downloads the Debian kernel (70 MB; it is not installed). Later calls take a few
// seconds. A file lock serializes builds in several processes.
func Build(ctx context.Context, cache string) (*Image, error) {
	if err := Usable(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("cache of guests: %w", err)
	}
	lock, err := os.Create(filepath.Join(cache, "lock"))
	if err != nil {
		return nil, fmt.Errorf("cache of guests: %w", err)
	}
	defer lock.Close() // closing releases the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("cache of guests: lock: %w", err)
	}
	k, err := fetchKernel(ctx, cache)
	if err != nil {
		return nil, fmt.Errorf("kernel of guests: %w", err)
	}
	i := &Image{Kernel: k.elf, Initramfs: filepath.Join(cache, "initramfs.cpio")}
	if err := buildInitramfs(ctx, k, i.Initramfs); err != nil {
		return nil, fmt.Errorf("initramfs of guests: %w", err)
	}
	return i, nil
}

func buildInitramfs(ctx context.Context, k *kernel, to string) error {
	a := newArchive()
	if err := a.skeleton(); err != nil {
		return err
	}
	initProgram := filepath.Join(filepath.Dir(to), "guestinit")
	if err := GoBuild(ctx, initProgram, "github.com/easyfind-usb/easyfind/deploy/e2e/guest/guestinit",
		"CGO_ENABLED=0"); err != nil {
		return err
	}
	if err := a.copyFile(initProgram, "init"); err != nil {
		return err
	}
	for name := range programs {
		if err := a.program(ctx, name); err != nil {
			return err
		}
	}
	// sh is dash, because busybox's shell prefers its own applets to programs in PATH.
	if err := a.symlink("usr/bin/sh", "dash"); err != nil {
		return err
	}
	if err := a.applets(ctx); err != nil {
		return err
	}
	if err := a.modules(k); err != nil {
		return err
	}
	return writeFile(to, a.bytes())
}

// writeFile replaces a file atomically, because a guest may be reading the old one.
func writeFile(to string, data []byte) error {
	if err := os.WriteFile(to+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// GoBuild builds a package of this module into a file. env is added to the
// environment, for example "CGO_ENABLED=0".
func GoBuild(ctx context.Context, to, pkg string, env ...string) error {
	return goTool(ctx, env, "build", "-trimpath", "-ldflags=-s -w", "-o", to, pkg)
}

// GoTestBinary builds the test binary of a package into a file.
func GoTestBinary(ctx context.Context, to, pkg, tags string, env ...string) error {
	return goTool(ctx, env, "test", "-c", "-trimpath", "-ldflags=-s -w", "-tags", tags, "-o", to, pkg)
}

func goTool(ctx context.Context, env []string, args ...string) error {
	c := exec.CommandContext(ctx, "go", args...)
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// output runs a program and returns its output.
func output(ctx context.Context, name string, args ...string) (string, error) {
	path, err := LookPath(name)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), nil
}
