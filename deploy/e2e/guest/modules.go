package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// modules lists the kernel modules in the guests; their dependencies are added.
var modules = []string{
	// platform
	"virtio_pci", "virtio_console", "virtio_net", "virtio_rng",
	// host controllers
	"xhci_pci", "ehci_pci", "uhci_hcd",
	// USB/IP and tracing
	"usbip_core", "vhci_hcd", "usbip_host", "usbmon",
	// class drivers
	"usb_storage", "uas", "sd_mod", "sg", "usbhid", "hid_generic", "evdev",
	"cdc_acm", "usbserial", "ftdi_sio", "cdc_ether", "snd_usb_audio",
	// networking, file systems
	"sch_netem", "sch_fq", "sch_tbf", "tcp_bbr", "ext4", "vfat", "nls_ascii", "nls_cp437",
}

// softDependencies are used by the modules above but not named as dependencies.
var softDependencies = []string{"crc32c_generic", "libcrc32c"}

// moduleTable is a modules.dep file: module files and their dependencies.
type moduleTable struct {
	file  map[string]string // by module name
	needs map[string][]string
}

func moduleName(file string) string {
	base, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

func readModuleTable(dir string) (moduleTable, error) {
	t := moduleTable{map[string]string{}, map[string][]string{}}
	raw, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return t, err
	}
	for line := range strings.Lines(string(raw)) {
		if file, needs, ok := strings.Cut(line, ":"); ok {
			t.file[moduleName(file)] = file
			t.needs[moduleName(file)] = strings.Fields(needs)
		}
	}
	return t, nil
}

// modules adds the kernel's modules and the tables that modprobe reads.
func (a *archive) modules(k *kernel) error {
	t, err := readModuleTable(k.modules)
	if err != nil {
		return err
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return err
	}
	chosen := map[string]bool{}
	for _, name := range modules {
		if !t.choose(name, chosen) && !strings.Contains(strings.ReplaceAll(string(builtin), "-", "_"), "/"+name+".ko") {
			return fmt.Errorf("kernel %s has no module %s", k.version, name)
		}
	}
	for _, name := range softDependencies {
		t.choose(name, chosen)
	}
	to := "usr/lib/modules/" + k.version + "/"
	var deps strings.Builder
	for name := range chosen {
		file := t.file[name]
		if err := a.copyFile(filepath.Join(k.modules, file), to+file); err != nil {
			return err
		}
		fmt.Fprintf(&deps, "%s: %s\n", file, strings.Join(t.needs[name], " "))
	}
	a.file(to+"modules.dep", []byte(deps.String()), 0o644)
	a.file(to+"modules.builtin", builtin, 0o644)
	for _, table := range []string{"modules.alias", "modules.softdep", "modules.symbols"} {
		raw, err := os.ReadFile(filepath.Join(k.modules, table))
		if err != nil {
			return err
		}
		a.file(to+table, []byte(tableOf(string(raw), chosen)), 0o644)
	}
	return nil
}

// choose adds a module and its dependencies to chosen, and reports whether it exists.
func (t moduleTable) choose(name string, chosen map[string]bool) bool {
	if _, ok := t.file[name]; !ok {
		return false
	}
	chosen[name] = true
	for _, file := range t.needs[name] {
		chosen[moduleName(file)] = true
	}
	return true
}

// tableOf returns the lines that name a chosen module: "alias PATTERN MODULE",
// "softdep MODULE ...".
func tableOf(raw string, chosen map[string]bool) string {
	var b strings.Builder
	for line := range strings.Lines(raw) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] == "#" {
			continue
		}
		name := f[2]
		if f[0] == "softdep" {
			name = f[1]
		}
		if chosen[strings.ReplaceAll(name, "-", "_")] {
			b.WriteString(line)
		}
	}
	return b.String()
}
