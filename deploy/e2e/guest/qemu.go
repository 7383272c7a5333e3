package guest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// cpu is the emulated processor: the plain one, whose kernel boots fastest, with the
// instructions that make hashes and ChaCha20 fast. It has no AES instructions on
// purpose. Go's TLS then chooses ChaCha20-Poly1305, which reaches 78 MB/s under
// emulation; AES-GCM with emulated AES instructions reaches 19 MB/s.
const cpu = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand"

// USB holds QEMU's arguments for one USB device.
type USB struct{ Args []string }

// Disk returns a SuperSpeed USB disk with the content of a file.
func Disk(id, file string) USB {
	return USB{[]string{
		"-blockdev", "driver=raw,node-name=" + id + "-file,file.driver=file,file.filename=" + file,
		"-device", "usb-storage,id=" + id + ",drive=" + id + "-file,serial=EF-" + id + ",bus=xhci.0",
	}}
}

// Keyboard returns a USB keyboard. QMP's send-key presses its keys.
func Keyboard(id string) USB { return USB{[]string{"-device", "usb-kbd,id=" + id + ",bus=xhci.0"}} }

// Tablet returns a USB tablet. QMP's input-send-event moves its pointer.
func Tablet(id string) USB { return USB{[]string{"-device", "usb-tablet,id=" + id + ",bus=xhci.0"}} }

// Serial returns a USB serial adapter (FTDI) that is connected to a Unix socket on which
// QEMU listens. The adapter drops data while nobody is connected.
func Serial(id, socket string) USB {
	return USB{[]string{
		"-chardev", "socket,id=" + id + "-line,path=" + socket + ",server=on,wait=off",
		"-device", "usb-serial,id=" + id + ",chardev=" + id + "-line,always-plugged=on,bus=xhci.0",
	}}
}

// Audio returns a USB sound card whose sound nobody hears.
func Audio(id string) USB {
	return USB{[]string{
		"-audiodev", "none,id=" + id + "-sink",
		"-device", "usb-audio,id=" + id + ",audiodev=" + id + "-sink,bus=xhci.0",
	}}
}

// startQEMU starts QEMU.
func (g *Guest) startQEMU(initramfs string) error {
	c := &g.cfg
	params := []string{
		"console=ttyS0", "quiet", "panic=-1", // the guest ends with its init program
		"nokaslr", "tsc=reliable", "mitigations=off", // boots faster
		"no_timer_check", // the check fails on a busy machine
		"guest.name=" + c.Name,
	}
	args := []string{
		"qemu-system-x86_64", "-name", c.Name, "-machine", "q35,usb=off", "-accel", "tcg", "-cpu", cpu, "-smp", "1",
		"-m", strconv.Itoa(c.Memory), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", c.Image.Kernel, "-initrd", initramfs,
		"-serial", "file:" + g.file("console.log"), "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=guest,path=" + g.file("guest.sock"),
		"-device", "virtserialport,chardev=guest,name=guest",
		"-chardev", "socket,id=qmp,path=" + g.file("qmp.sock"), "-mon", "chardev=qmp,mode=control",
	}
	if n := c.NIC; n != nil {
		params = append(params, "guest.ip="+n.Addr, "guest.gw="+n.Gateway)
		args = append(args, "-netdev", "tap,id=lan,ifname="+g.tap+",script=no,downscript=no",
			"-device", "virtio-net-pci,netdev=lan,romfile=,mac="+c.mac())
		args = append([]string{"ip", "netns", "exec", n.Namespace}, args...)
	}
	if len(c.Modules) > 0 {
		params = append(params, "guest.modules="+strings.Join(c.Modules, ","))
	}
	args = append(args, "-append", strings.Join(params, " "), "-device", "qemu-xhci,id=xhci,p2=15,p3=15")
	for _, u := range c.USB {
		args = append(args, u.Args...)
	}
	log, err := os.Create(g.file("qemu.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	g.cmd = exec.Command(args[0], args[1:]...)
	g.cmd.Stdout, g.cmd.Stderr = log, log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt of the test does not reach the guest
	if err := g.cmd.Start(); err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	return nil
}

// mac returns a locally administered address derived from the name.
func (c *Config) mac() string {
	sum := uint32(0)
	for _, r := range c.Name {
		sum = sum*31 + uint32(r)
	}
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", sum>>16&255, sum>>8&255, sum&255)
}
