package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest/frame"
)

// outputGrace bounds the wait for output after a program has ended. Daemons that
// it started may keep its pipes open.
const outputGrace = 200 * time.Millisecond

// server runs programs for the test.
type server struct {
	w        *frame.Writer
	mu       sync.Mutex
	sessions map[uint32]*session // guarded by mu
}

// session is one running program.
type session struct {
	id    uint32
	cmd   *exec.Cmd
	input chan []byte // payloads of Stdin
	done  chan struct{}
}

// run handles frames until reading fails.
func (s *server) run(r io.Reader) error {
	for {
		f, err := frame.Read(r)
		if err != nil {
			return fmt.Errorf("port of the test: %w", err)
		}
		switch f.Type {
		case frame.Exec:
			if err := s.start(f); err != nil {
				if err := s.exit(f.Session, frame.Result{Code: 127, Error: err.Error()}); err != nil {
					return err
				}
			}
		case frame.Stdin:
			if c := s.session(f.Session); c != nil {
				select {
				case c.input <- f.Payload:
				case <-c.done:
				}
			}
		case frame.Kill:
			if c := s.session(f.Session); c != nil {
				if err := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL); err != nil &&
					!errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("kill: %w", err)
				}
			}
		default:
			return fmt.Errorf("frame of type %q is not for a guest", f.Type)
		}
	}
}

func (s *server) session(id uint32) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

func (s *server) exit(id uint32, r frame.Result) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.w.Write(frame.Exit, id, b)
}

func (s *server) start(f frame.Frame) error {
	var p frame.Program
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return err
	}
	if len(p.Argv) == 0 {
		return errors.New("no program to run")
	}
	c := exec.Command(p.Argv[0], p.Argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Stdout = output{s.w, f.Session, frame.Stdout}
	c.Stderr = output{s.w, f.Session, frame.Stderr}
	c.WaitDelay = outputGrace
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	defer from.Close()
	c.Stdin = from
	if err := c.Start(); err != nil {
		return errors.Join(err, to.Close())
	}
	ss := &session{id: f.Session, cmd: c, input: make(chan []byte, 64), done: make(chan struct{})}
	s.mu.Lock()
	s.sessions[f.Session] = ss
	s.mu.Unlock()
	go ss.feed(to)
	go s.reap(ss)
	return nil
}

// feed writes the input of the program until its end or the program's end.
func (c *session) feed(to io.WriteCloser) {
	defer to.Close()
	for {
		select {
		case b := <-c.input:
			if len(b) == 0 {
				return
			}
			if _, err := to.Write(b); err != nil {
				return // the program does not read its input
			}
		case <-c.done:
			return
		}
	}
}

// reap waits for the program and reports its result.
func (s *server) reap(c *session) {
	err := c.cmd.Wait()
	close(c.done)
	s.mu.Lock()
	delete(s.sessions, c.id)
	s.mu.Unlock()
	var failed *exec.ExitError
	r := frame.Result{Code: -1}
	if err != nil && !errors.As(err, &failed) && !errors.Is(err, exec.ErrWaitDelay) {
		r.Error = err.Error()
	}
	if state := c.cmd.ProcessState; state != nil {
		r.Code = state.ExitCode()
		if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			r.Code = 128 + int(w.Signal())
		}
	}
	if err := s.exit(c.id, r); err != nil {
		fmt.Fprintln(os.Stderr, "guest init: result of a program:", err)
	}
}

// output sends the output of a program.
type output struct {
	w       *frame.Writer
	session uint32
	kind    frame.Type
}

func (o output) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return len(p), o.w.Write(o.kind, o.session, p)
}
