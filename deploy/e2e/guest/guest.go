// Package guest boots small virtual machines for tests: QEMU without KVM, the Debian
// kernel, emulated USB devices, and an init program that runs commands for the test.
// It needs root only for a network device in a namespace.
//
//	image, err := guest.Build(ctx, cacheDir)
//	g, err := guest.Start(ctx, guest.Config{
//		Name: "s", Image: image, Dir: t.TempDir(),
//		NIC: &guest.NIC{Namespace: l.Namespace("gwa"), Bridge: "lan0",
//			Addr: "192.168.1.2/24", Gateway: "192.168.1.1"},
//		USB: []guest.USB{guest.Disk("disk", "disk.img"), guest.Keyboard("keyboard")},
//	})
//	out, err := g.Exec(ctx, "lsusb -t")
//	_, err = g.QMP("device_del", map[string]string{"id": "disk"})
//	err = g.Close()
//
// It needs Linux on x86-64 and the packages that [Usable] names. Without KVM a guest
// boots in 3 to 6 seconds on an idle machine, and in 20 or more on a busy one.
package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest/frame"
)

// Config describes a guest.
type Config struct {
	Name    string // 1 to 8 of a-z 0-9; part of the name of a device
	Image   *Image
	Dir     string            // an existing directory for this guest's files
	Memory  int               // MiB, default 512
	NIC     *NIC              // nil: no network
	USB     []USB             // plugged in at the start
	Modules []string          // loaded at the start, such as vhci_hcd
	Files   map[string]string // more files: path in the guest, file on this machine
	// Binaries names dynamic programs among Files whose libraries are added.
	Binaries []string
}

// NIC is the guest's network device: a TAP device on a bridge in a namespace.
type NIC struct {
	Namespace string // in ip netns
	Bridge    string
	Addr      string // with the prefix length
	Gateway   string
}

// Guest is a running virtual machine.
type Guest struct {
	Boot  time.Duration // from the start of QEMU until the guest was ready
	Facts frame.Facts

	// Immutable after Start.
	cfg   Config
	tap   string
	cmd   *exec.Cmd
	w     *frame.Writer
	qmp   *monitor
	dead  chan struct{} // closed when QEMU has ended
	ended error         // the reason; readable once dead is closed
	wg    sync.WaitGroup
	once  sync.Once

	mu       sync.Mutex
	next     uint32              // guarded by mu: number of the next session
	sessions map[uint32]*session // guarded by mu; nil when the guest has ended
}

// Start boots a guest and returns when it is ready. If ctx ends while it boots, the
// guest ends too. Later ctx has no effect.
func Start(ctx context.Context, c Config) (*Guest, error) {
	if c.Memory == 0 {
		c.Memory = 512
	}
	if c.Name == "" || len(c.Name) > 8 {
		return nil, fmt.Errorf("guest %q: want a name of 1 to 8 letters", c.Name)
	}
	g := &Guest{cfg: c, tap: "t-" + c.Name, dead: make(chan struct{}), sessions: map[uint32]*session{}}
	initramfs, err := c.initramfs(ctx)
	if err != nil {
		return nil, fmt.Errorf("guest %s: initramfs: %w", c.Name, err)
	}
	if c.NIC != nil {
		if err := g.plugTap(ctx); err != nil {
			return nil, fmt.Errorf("guest %s: %w", c.Name, err)
		}
	}
	if err := g.boot(ctx, initramfs); err != nil {
		return nil, fmt.Errorf("guest %s: %w", c.Name, errors.Join(err, g.Close()))
	}
	return g, nil
}

// initramfs writes the image's archive with this guest's files appended. The kernel
// unpacks one archive after the other.
func (c Config) initramfs(ctx context.Context) (string, error) {
	base, err := os.ReadFile(c.Image.Initramfs)
	if err != nil {
		return "", err
	}
	a := newArchive()
	for to, from := range c.Files {
		if err := a.copyFile(from, inArchive(to)); err != nil {
			return "", err
		}
	}
	for _, from := range c.Binaries {
		if err := a.libraries(ctx, from); err != nil {
			return "", err
		}
	}
	to := filepath.Join(c.Dir, "initramfs.cpio")
	return to, os.WriteFile(to, append(base, a.bytes()...), 0o644)
}

// plugTap creates the network device that QEMU opens.
func (g *Guest) plugTap(ctx context.Context) error {
	n := g.cfg.NIC
	batch := fmt.Sprintf("tuntap add %[1]s mode tap\nlink set %[1]s master %[2]s\nlink set %[1]s up\n", g.tap, n.Bridge)
	c := exec.CommandContext(ctx, "ip", "-n", n.Namespace, "-batch", "-")
	c.Stdin = strings.NewReader(batch)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("network device on %s of %s: %w: %s", n.Bridge, n.Namespace, err, out)
	}
	return nil
}

// boot starts QEMU and waits for the first frame of the guest.
func (g *Guest) boot(ctx context.Context, initramfs string) error {
	port, err := net.Listen("unix", g.file("guest.sock"))
	if err != nil {
		close(g.dead)
		return err
	}
	defer port.Close()
	control, err := net.Listen("unix", g.file("qmp.sock"))
	if err != nil {
		close(g.dead)
		return err
	}
	defer control.Close()
	began := time.Now()
	if err := g.startQEMU(initramfs); err != nil {
		close(g.dead)
		return err
	}
	g.wg.Go(func() {
		g.ended = g.cmd.Wait()
		close(g.dead)
		g.hangUp()
	})
	// The wait ends with whichever comes first.
	waiting, ready := context.WithCancel(ctx)
	defer ready()
	g.wg.Go(func() {
		select {
		case <-g.dead:
		case <-waiting.Done():
		}
		port.Close()
		control.Close()
	})
	if err := g.meet(ctx, port, control); err != nil {
		return g.explain(errors.Join(err, ctx.Err()))
	}
	g.Boot = time.Since(began)
	return nil
}

// meet accepts both connections of QEMU and waits for the first frame.
func (g *Guest) meet(ctx context.Context, port, control net.Listener) error {
	q, err := control.Accept()
	if err != nil {
		return fmt.Errorf("QEMU did not start: %w", err)
	}
	if g.qmp, err = newMonitor(q); err != nil {
		return err
	}
	p, err := port.Accept()
	if err != nil {
		return fmt.Errorf("QEMU did not start: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { p.Close() })
	defer stop()
	r := bufio.NewReader(p)
	f, err := frame.Read(r)
	if err != nil {
		return errors.Join(fmt.Errorf("the guest did not come up: %w", err), p.Close())
	}
	if err := json.Unmarshal(f.Payload, &g.Facts); err != nil {
		return fmt.Errorf("the guest's first words: %w", err)
	}
	g.w = frame.NewWriter(p)
	g.wg.Go(func() {
		defer p.Close()
		for {
			f, err := frame.Read(r)
			if err != nil {
				g.hangUp()
				return
			}
			g.deliver(f)
		}
	})
	return nil
}

// explain adds the output of QEMU and of the guest's kernel to an error.
func (g *Guest) explain(err error) error {
	said, e := os.ReadFile(g.file("qemu.log"))
	select {
	case <-g.dead:
		e = errors.Join(e, g.ended)
	default:
	}
	return fmt.Errorf("%w\nQEMU: %s\nconsole: %s", errors.Join(err, e), said, g.Console())
}

func (g *Guest) file(name string) string { return filepath.Join(g.cfg.Dir, name) }

// Console returns the output of the kernel and the init program.
func (g *Guest) Console() string {
	b, err := os.ReadFile(g.file("console.log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// QMP runs a command of QEMU's monitor and returns its result
// (https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html).
func (g *Guest) QMP(command string, arguments any) (json.RawMessage, error) {
	return g.qmp.do(command, arguments)
}

// Close ends the guest at once, like a power failure.
func (g *Guest) Close() error {
	var err error
	g.once.Do(func() {
		if g.cmd != nil && g.cmd.Process != nil {
			if e := g.cmd.Process.Signal(syscall.SIGTERM); e != nil && !errors.Is(e, os.ErrProcessDone) {
				err = e
			}
			timeout := time.NewTimer(10 * time.Second)
			defer timeout.Stop()
			select {
			case <-g.dead:
			case <-timeout.C:
				err = errors.Join(err, g.cmd.Process.Kill())
			}
		}
		<-g.dead
		if g.qmp != nil {
			err = errors.Join(err, g.qmp.close())
		}
		g.wg.Wait()
		if n := g.cfg.NIC; n != nil {
			if out, e := exec.Command("ip", "-n", n.Namespace, "link", "del", g.tap).CombinedOutput(); e != nil {
				err = errors.Join(err, fmt.Errorf("network device %s: %w: %s", g.tap, e, out))
			}
		}
	})
	return err
}
