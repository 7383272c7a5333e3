package guest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// File types of a cpio archive (man 5 cpio, and the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst).
const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
	typeChar    = 0o020000
)

type entry struct {
	mode         uint32
	data         []byte
	major, minor int // of a device
}

// merged lists the directories of / that are links into /usr, as in Debian.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// archive is an initramfs that is being built. Its paths have no leading slash.
type archive struct{ entries map[string]entry }

func newArchive() *archive { return &archive{entries: map[string]entry{}} }

// skeleton adds the directories and files that programs expect.
func (a *archive) skeleton() error {
	for _, d := range []string{
		"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "root", "mnt", "proc", "sys",
		"tmp", "run", "var/lib", "dev",
	} {
		a.directory(d)
	}
	for _, d := range merged {
		if err := a.symlink(d, "usr/"+d); err != nil {
			return err
		}
	}
	if err := a.symlink("var/run", "../run"); err != nil { // usbip keeps its record of attached devices there
		return err
	}
	a.entries["dev/console"] = entry{mode: typeChar | 0o600, major: 5, minor: 1}
	a.entries["dev/null"] = entry{mode: typeChar | 0o666, major: 1, minor: 3}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n",
		"etc/group":  "root:x:0:\nnogroup:x:65534:\n",
		"etc/hosts":  "127.0.0.1 localhost\n", "etc/nsswitch.conf": "hosts: files\n", "etc/mtab": "",
	} {
		a.file(name, []byte(text), 0o644)
	}
	for _, f := range []string{"/usr/share/misc/usb.ids"} {
		if err := a.copyFile(f, inArchive(f)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

func (a *archive) directory(name string) {
	for ; name != "." && name != "/"; name = path.Dir(name) {
		if _, ok := a.entries[name]; !ok {
			a.entries[name] = entry{mode: typeDir | 0o755}
		}
	}
}

func (a *archive) file(name string, data []byte, perm fs.FileMode) {
	a.directory(path.Dir(name))
	a.entries[name] = entry{mode: typeFile | uint32(perm.Perm()), data: data}
}

func (a *archive) symlink(name, to string) error {
	if _, ok := a.entries[name]; ok {
		return fmt.Errorf("%s: there already", name)
	}
	a.directory(path.Dir(name))
	a.entries[name] = entry{mode: typeSymlink | 0o777, data: []byte(to)}
	return nil
}

// inArchive returns the path in the archive of a file of this machine.
func inArchive(name string) string {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if first, _, _ := strings.Cut(name, "/"); slices.Contains(merged, first) {
		return "usr/" + name
	}
	return name
}

func (a *archive) copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	a.file(to, data, info.Mode())
	return nil
}

// program adds a program of this machine and its libraries.
func (a *archive) program(ctx context.Context, name string) error {
	from, err := LookPath(name)
	if err != nil {
		return err
	}
	dir := path.Base(path.Dir(from)) // bin or sbin
	if err := a.copyFile(from, "usr/"+dir+"/"+name); err != nil {
		return err
	}
	return a.libraries(ctx, from)
}

// libraries adds the libraries of a dynamic program; a static program has none.
func (a *archive) libraries(ctx context.Context, program string) error {
	said, err := output(ctx, "ldd", program)
	if err != nil {
		if strings.Contains(err.Error(), "not a dynamic executable") {
			return nil
		}
		return err
	}
	for _, word := range strings.Fields(said) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		if _, ok := a.entries[inArchive(word)]; !ok {
			if err := a.copyFile(word, inArchive(word)); err != nil {
				return err
			}
		}
	}
	return nil
}

// applets adds busybox under the names of all programs that the archive lacks.
func (a *archive) applets(ctx context.Context) error {
	list, err := output(ctx, "busybox", "--list-full")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(list) {
		base := path.Base(name)
		there := base == "linuxrc"
		for _, dir := range []string{"usr/bin/", "usr/sbin/"} {
			_, ok := a.entries[dir+base]
			there = there || ok
		}
		if !there {
			if err := a.symlink(inArchive(name), "/usr/bin/busybox"); err != nil {
				return err
			}
		}
	}
	return nil
}

// bytes returns the archive in the "new ASCII" format.
func (a *archive) bytes() []byte {
	var b bytes.Buffer
	pad := func() { b.Write(make([]byte, -b.Len()&3)) }
	write := func(inode int, name string, e entry) {
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
			inode, e.mode, 0, 0, 1, 0, len(e.data), 0, 0, e.major, e.minor, len(name)+1, 0)
		b.WriteString(name + "\x00")
		pad()
		b.Write(e.data)
		pad()
	}
	for i, name := range slices.Sorted(maps.Keys(a.entries)) { // parents come first
		write(i+1, name, a.entries[name])
	}
	write(0, "TRAILER!!!", entry{})
	return b.Bytes()
}
