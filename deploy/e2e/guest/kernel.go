package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernelPackage depends on the package of the current kernel.
const kernelPackage = "linux-image-amd64"

// kernel is an unpacked kernel package.
type kernel struct {
	elf     string // file
	version string
	modules string // directory with modules.dep and kernel/
}

// fetchKernel downloads and unpacks the kernel once. It downloads a newer one only
// after the cache has been removed.
func fetchKernel(ctx context.Context, cache string) (*kernel, error) {
	dir := filepath.Join(cache, "kernel")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := unpackKernel(ctx, cache, dir); err != nil {
			return nil, err
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		if found, err = filepath.Glob(filepath.Join(dir, "usr/lib/modules/*")); err != nil {
			return nil, err
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d kernels in %s, want 1; remove it", len(found), dir)
	}
	return &kernel{elf: filepath.Join(dir, "vmlinux"), version: filepath.Base(found[0]), modules: found[0]}, nil
}

// unpackKernel creates dir completely or not at all.
func unpackKernel(ctx context.Context, cache, dir string) error {
	deb, err := downloadKernel(ctx, cache)
	if err != nil {
		return err
	}
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if _, err := output(ctx, "dpkg", "-x", deb, fresh); err != nil {
		return err
	}
	images, err := filepath.Glob(filepath.Join(fresh, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return fmt.Errorf("%d kernel images in %s, want 1: %w", len(images), deb, err)
	}
	elf, err := extractELF(ctx, images[0])
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(fresh, "vmlinux"), elf, 0o644); err != nil {
		return err
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	base := fresh
	if _, err := os.Stat(filepath.Join(fresh, "lib/modules")); err != nil {
		base = filepath.Join(fresh, "usr") // depmod looks in lib/modules of its base
	}
	if _, err := output(ctx, "depmod", "-b", base, version); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

// downloadKernel downloads the package with apt and returns its file.
func downloadKernel(ctx context.Context, cache string) (string, error) {
	debs := filepath.Join(cache, "debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return "", err
	}
	depends, err := output(ctx, "apt-cache", "depends", "--important", kernelPackage)
	if err != nil {
		return "", fmt.Errorf("%w; guests need Debian's kernel: run apt-get update", err)
	}
	_, pkg, ok := strings.Cut(depends, "Depends: ")
	if pkg, _, _ = strings.Cut(pkg, "\n"); !ok {
		return "", fmt.Errorf("package %s depends on no kernel: %s", kernelPackage, depends)
	}
	match := filepath.Join(debs, pkg+"_*.deb")
	found, err := filepath.Glob(match)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		c := exec.CommandContext(ctx, "apt-get", "-q", "download", pkg)
		c.Dir = debs
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("apt-get download %s: %w\n%s", pkg, err, out)
		}
		if found, err = filepath.Glob(match); err != nil || len(found) == 0 {
			return "", fmt.Errorf("apt-get download %s: it left no file: %w", pkg, err)
		}
	}
	return found[len(found)-1], nil
}

// extractELF unpacks the kernel from its self-extracting image, so that QEMU can start
// it directly (PVH). Emulating the decompressor takes seconds.
func extractELF(ctx context.Context, image string) ([]byte, error) {
	raw, err := os.ReadFile(image)
	if err != nil {
		return nil, err
	}
	for magic, tool := range map[string]string{
		"\xfd7zXZ\x00": "xz", "\x28\xb5\x2f\xfd": "zstd",
		"\x1f\x8b\x08": "gzip",
	} {
		for at := 0; ; at++ {
			i := bytes.Index(raw[at:], []byte(magic))
			if i < 0 {
				break
			}
			at += i
			c := exec.CommandContext(ctx, tool, "-dc")
			c.Stdin = bytes.NewReader(raw[at:])
			out, err := c.Output()
			if bytes.HasPrefix(out, []byte("\x7fELF")) {
				return out, nil // the tool fails on the bytes after the kernel
			}
			if errors.Is(err, exec.ErrNotFound) {
				return nil, fmt.Errorf("%s: %w; apt-get install %s", image, err, tool)
			}
		}
	}
	return nil, fmt.Errorf("%s: no ELF kernel inside", image)
}
