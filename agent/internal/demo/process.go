package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopTime is how long a process may take to end when it is asked to.
const stopTime = 5 * time.Second

// process is one of the demo's programs.
type process struct {
	name  string
	log   string // file
	cmd   *exec.Cmd
	asked bool          // to end
	ended chan struct{} // closed when it has; then err says how
	err   error
}

// start runs a program with its output in a file of the demo's directory. Its
// environment is empty but for where the system's programs are, so that a
// person's settings do not change the demo.
func (d *Demo) start(name, program string, args ...string) error {
	p := &process{name: name, log: filepath.Join(d.dir, name+".log"), ended: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("log of the %s: %w", name, err)
	}
	defer out.Close() // the process has its own
	p.cmd = exec.Command(d.program(program), args...)
	p.cmd.Dir = d.dir
	p.cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + d.dir}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start of the %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	d.processes = append(d.processes, p)
	return nil
}

// over reports whether the process has ended.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// died names the processes that have ended unasked.
func (d *Demo) died() error {
	var errs []error
	for _, p := range d.processes {
		if p.over() && !p.asked {
			errs = append(errs, fmt.Errorf("the %s has ended by itself (%v)", p.name, p.cmd.ProcessState))
		}
	}
	return errors.Join(errs...)
}

// stop asks the process to end, makes it end if it does not, and waits. It is
// an error if it had ended before, or did not end well.
func (p *process) stop() error {
	p.asked = true
	if p.over() {
		return fmt.Errorf("the %s had ended by itself (%v)", p.name, p.cmd.ProcessState)
	}
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil { // not every system has the signal
		p.cmd.Process.Kill()
		<-p.ended
		return nil
	}
	patience := time.NewTimer(stopTime)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("the %s did not end within %v of being asked to, and was killed", p.name, stopTime)
	}
	if p.err != nil {
		return fmt.Errorf("the %s did not end well: %w", p.name, p.err)
	}
	return nil
}

// stopAll stops the processes that have not been stopped yet, the last one
// first.
func (d *Demo) stopAll() error {
	var errs []error
	for _, p := range slices.Backward(d.processes) {
		if !p.asked {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}

// maxTail bounds what is read of a log, in bytes from its end.
const maxTail = 64 << 10

// tail returns the last lines of the log.
func (p *process) tail(lines int) []string {
	f, err := os.Open(p.log)
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return []string{err.Error()}
	}
	b := make([]byte, min(size, maxTail))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil {
		return []string{err.Error()}
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return all[max(0, len(all)-lines):]
}
