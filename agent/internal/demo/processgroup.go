package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	stopTimeout  = 5 * time.Second       // from the request to stop to the end of a process
	pollInterval = 20 * time.Millisecond // of processes, which report no events
	maxLogTail   = 64 << 10              // bytes at the end of a log that are searched for its last lines
	systemPath   = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// processGroup runs the processes of the demo.
type processGroup struct {
	programs    string        // the directory of the programs
	dir         string        // of logs and all that the processes write
	stepTimeout time.Duration // for one event that the demo waits for
	all         []*process
}

// process is a running program.
type process struct {
	name    string
	log     string // a file
	cmd     *exec.Cmd
	stopped bool          // stop has been called
	ended   chan struct{} // closed when the process has ended
	err     error         // of the process; valid after ended is closed
}

// programPath returns the path of a program.
func (g *processGroup) programPath(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(g.programs, name)
}

// start runs a program and writes its output to a log file. The program gets only PATH
// and HOME, so that the settings in the user's environment do not change the demo.
func (g *processGroup) start(name, program string, args ...string) error {
	p := &process{name: name, log: filepath.Join(g.dir, name+".log"), ended: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("log of the %s: %w", name, err)
	}
	defer out.Close() // the process has its own descriptor
	p.cmd = exec.Command(g.programPath(program), args...)
	p.cmd.Dir = g.dir
	p.cmd.Env = []string{systemPath, "HOME=" + g.dir}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start of the %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	g.all = append(g.all, p)
	return nil
}

// await polls a condition until it is true. It fails early if a process has ended.
func (g *processGroup) await(
	ctx context.Context, what string, condition func(context.Context) (bool, error),
) error {
	ctx, cancel := withTimeout(ctx, g.stepTimeout, what)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ok, err := condition(ctx)
		if ok {
			return nil
		}
		if g.endedEarly() != nil {
			return fmt.Errorf("cannot wait for %s any longer", what) // Run adds the process that has ended
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("%w: %w", context.Cause(ctx), err)
			}
			return context.Cause(ctx)
		}
	}
}

// withTimeout returns a context whose cause names the event that did not happen.
func withTimeout(ctx context.Context, timeout time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, timeout, fmt.Errorf("waited %v for %s", timeout, what))
}

// endedEarly returns an error that names the processes that ended before stop.
func (g *processGroup) endedEarly() error {
	var errs []error
	for _, p := range g.all {
		if p.hasEnded() && !p.stopped {
			errs = append(errs, fmt.Errorf("the %s has ended by itself (%v)", p.name, p.cmd.ProcessState))
		}
	}
	return errors.Join(errs...)
}

// stopAll stops the processes that still run, the last one first.
func (g *processGroup) stopAll() error {
	var errs []error
	for _, p := range slices.Backward(g.all) {
		if !p.stopped {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop asks the process to end, and kills it after stopTimeout. It returns an error if
// the process had ended before, failed, or was killed.
func (p *process) stop() error {
	p.stopped = true
	if p.hasEnded() {
		return fmt.Errorf("the %s had ended by itself (%v)", p.name, p.cmd.ProcessState)
	}
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil { // this system has no such signal
		p.cmd.Process.Kill()
		<-p.ended
		return nil
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.ended:
	case <-timeout.C:
		p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("the %s did not end within %v and was killed", p.name, stopTimeout)
	}
	if p.err != nil {
		return fmt.Errorf("the %s failed when it was stopped: %w", p.name, p.err)
	}
	return nil
}

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
	b := make([]byte, min(size, maxLogTail))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil {
		return []string{err.Error()}
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return all[max(0, len(all)-lines):]
}
