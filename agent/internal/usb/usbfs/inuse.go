//go:build linux

package usbfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// maxTable is the greatest length of a file below /proc that is read, in bytes.
const maxTable = 16 << 20

// use lists the mounts, swap areas and default routes of this machine. A device
// that provides one of them must not be shared.
type use struct {
	mounts  map[string]string // mount point, by "major:minor" and by "/dev/…"
	swaps   []string          // "/dev/…"
	routers []string          // network interfaces with a default route
}

// readUse reads the tables below /proc. Kernels without swap or IPv6 lack some
// of them.
func readUse(proc string) (use, error) {
	mounts, err := readBounded(filepath.Join(proc, "self/mountinfo"), maxTable)
	if err != nil {
		return use{}, err
	}
	u := use{mounts: parseMounts(string(mounts))}
	for name, parse := range map[string]func(string){
		"swaps":          func(s string) { u.swaps = append(u.swaps, parseSwaps(s)...) },
		"net/route":      func(s string) { u.routers = append(u.routers, parseRoutes(s)...) },
		"net/ipv6_route": func(s string) { u.routers = append(u.routers, parseRoutes6(s)...) },
	} {
		b, err := readBounded(filepath.Join(proc, name), maxTable)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return use{}, err
		}
		parse(string(b))
	}
	return u, nil
}

// parseMounts parses /proc/self/mountinfo (proc(5)). A line holds ID, parent,
// major:minor, root, mount point, options, any number of fields, "-", type and
// source. A file system over several devices has a major:minor of its own, and
// its source is one of the devices.
func parseMounts(s string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if len(f) < 5 || dash < 5 || len(f) < dash+3 {
			continue
		}
		where := unescape(f[4])
		m[f[2]] = where
		if source := unescape(f[dash+2]); strings.HasPrefix(source, "/dev/") {
			m[source] = where
		}
	}
	return m
}

// unescape replaces octal escapes such as \040.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// parseSwaps parses /proc/swaps: a header, then lines that begin with the name
// of a file.
func parseSwaps(s string) []string {
	var list []string
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) > 0 && strings.HasPrefix(f[0], "/") {
			list = append(list, unescape(f[0]))
		}
	}
	return list
}

// parseRoutes parses /proc/net/route and returns the interfaces with a default
// route. A line holds interface, destination, gateway, flags, three counters
// and mask.
func parseRoutes(s string) []string {
	var list []string
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			list = append(list, f[0])
		}
	}
	return list
}

// parseRoutes6 parses /proc/net/ipv6_route and returns the interfaces with a
// default route. A line holds destination and its length, source and its
// length, next hop, four numbers and interface.
func parseRoutes6(s string) []string {
	var list []string
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) == 10 && f[1] == "00" && strings.Trim(f[0], "0") == "" && f[9] != "lo" {
			list = append(list, f[9])
		}
	}
	return list
}

// isHub reports whether the device is a hub.
func isHub(i usb.Info) bool { return i.Class == 0x09 }

// reason returns the value of [usb.Info.InUse]. dir is the device's directory
// in sysfs.
func (u use) reason(dir string, i usb.Info) string {
	if isHub(i) {
		return "it is a hub"
	}
	settings, err := readSettings(dir)
	if err == nil && slices.ContainsFunc(settings, func(s setting) bool { return s.driver == "usbfs" }) {
		return "it is already opened"
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return ""
	}
	for _, class := range classDirectories(real) {
		switch filepath.Base(class) {
		case "block":
			for _, disk := range children(class) {
				if r := u.blockReason(disk); r != "" {
					return r
				}
			}
		case "net":
			for _, n := range children(class) {
				if slices.Contains(u.routers, filepath.Base(n)) {
					return filepath.Base(n) + " carries this machine's default route"
				}
			}
		}
	}
	return ""
}

// maxDepth is the number of directory levels below a device that are searched
// for disks and network interfaces. Five are needed: interface, host, target,
// LUN, class.
const maxDepth = 8

// classDirectories returns the directories named "block" and "net" below a
// device. It does not follow symbolic links, which lead to other devices.
func classDirectories(root string) []string {
	var found []string
	_ = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // removed since its parent was read
		case !e.IsDir():
			return nil
		case e.Name() == "block" || e.Name() == "net":
			found = append(found, name)
			return fs.SkipDir
		case strings.Count(name[len(root):], "/") >= maxDepth:
			return fs.SkipDir
		}
		return nil
	})
	return found
}

func children(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list
}

// blockReason returns the reason why a disk or one of its partitions is in use,
// or "". disk is a directory in sysfs.
func (u use) blockReason(disk string) string {
	for _, dir := range append([]string{disk}, children(disk)...) {
		name, number := filepath.Base(dir), attribute(dir, "dev")
		if number == "" {
			continue // neither a disk nor a partition
		}
		node := "/dev/" + name
		for _, key := range []string{number, node} {
			if where, ok := u.mounts[key]; ok {
				return name + " is mounted on " + where
			}
		}
		if slices.Contains(u.swaps, node) {
			return name + " is used as swap"
		}
		if held, err := os.ReadDir(filepath.Join(dir, "holders")); err == nil && len(held) > 0 {
			return name + " is held by " + held[0].Name()
		}
	}
	return ""
}
