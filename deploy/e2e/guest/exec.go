package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest/frame"
)

// ErrGone is returned for a program whose guest has ended.
var ErrGone = errors.New("the guest is gone")

// backlog is the number of output frames that may wait for their reader.
const backlog = 256

// session is one program that runs in the guest.
type session struct {
	frames chan frame.Frame
	gone   chan struct{} // closed after the last frame
	done   chan struct{} // closed when nobody reads the frames any longer
}

// deliver passes a frame to the reader of its session.
func (g *Guest) deliver(f frame.Frame) {
	g.mu.Lock()
	s := g.sessions[f.Session]
	g.mu.Unlock()
	if s == nil {
		return
	}
	select {
	case s.frames <- f:
	case <-s.done:
	}
}

// hangUp ends all sessions. Further calls have no effect.
func (g *Guest) hangUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sessions {
		close(s.gone)
	}
	g.sessions = nil
}

func (g *Guest) open() (uint32, *session, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sessions == nil {
		return 0, nil, ErrGone
	}
	g.next++
	s := &session{frames: make(chan frame.Frame, backlog), gone: make(chan struct{}), done: make(chan struct{})}
	g.sessions[g.next] = s
	return g.next, s, nil
}

func (g *Guest) finish(id uint32, s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, id)
	close(s.done)
}

// Stream runs a program in the guest until it ends. It returns the exit status, which
// is 128 plus the signal number for a killed program. When ctx ends, the program and
// all programs that it started are killed. A nil stdin is empty. Read of stdin must
// return at some time after the program has ended.
func (g *Guest) Stream(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, argv ...string) (int, error) {
	id, s, err := g.open()
	if err != nil {
		return -1, err
	}
	defer g.finish(id, s)
	program, err := json.Marshal(frame.Program{Argv: argv})
	if err != nil {
		return -1, err
	}
	if err := g.w.Write(frame.Exec, id, program); err != nil {
		return -1, fmt.Errorf("guest %s: %w", g.cfg.Name, err)
	}
	g.wg.Go(func() { g.feed(id, s, stdin) })
	for {
		select {
		case f := <-s.frames:
			if f.Type == frame.Exit {
				return result(f)
			}
			to := stdout
			if f.Type == frame.Stderr {
				to = stderr
			}
			if _, err := to.Write(f.Payload); err != nil {
				return -1, errors.Join(err, g.w.Write(frame.Kill, id, nil))
			}
		case <-s.gone:
			return -1, ErrGone
		case <-ctx.Done():
			return -1, errors.Join(ctx.Err(), g.w.Write(frame.Kill, id, nil))
		}
	}
}

func result(f frame.Frame) (int, error) {
	var r frame.Result
	if err := json.Unmarshal(f.Payload, &r); err != nil {
		return -1, fmt.Errorf("result of a guest's program: %w", err)
	}
	if r.Error != "" {
		return r.Code, errors.New(r.Error)
	}
	return r.Code, nil
}

// feed sends the input of the program and its end.
func (g *Guest) feed(id uint32, s *session, stdin io.Reader) {
	buf := make([]byte, frame.MaxPayload)
	for stdin != nil {
		n, err := stdin.Read(buf)
		if n > 0 && g.w.Write(frame.Stdin, id, buf[:n]) != nil {
			return // the guest has ended, which its reader notices
		}
		if err != nil {
			break
		}
		select {
		case <-s.done:
			return
		default:
		}
	}
	if g.w.Write(frame.Stdin, id, nil) != nil {
		return
	}
}

// Exec runs a shell script in the guest and returns its standard output without the
// last newline. An exit status other than 0 is an error that quotes the script and its
// output, including standard error.
func (g *Guest) Exec(ctx context.Context, script string) (string, error) {
	var stdout, stderr bytes.Buffer
	code, err := g.Stream(ctx, nil, &stdout, &stderr, "sh", "-c", script)
	out := strings.TrimSuffix(stdout.String(), "\n")
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d", code)
	}
	if err != nil {
		return out, fmt.Errorf("guest %s: %s: %w\n%s\n%s", g.cfg.Name, script, err, out, &stderr)
	}
	return out, nil
}

// Put copies a file of this machine into the guest.
func (g *Guest) Put(ctx context.Context, from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	code, err := g.Stream(
		ctx,
		f,
		&said,
		&said,
		"sh",
		"-c",
		`cat > "$1" && chmod "$2" "$1"`,
		"put",
		to,
		fmt.Sprintf("%o", info.Mode().Perm()),
	)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d: %s", code, &said)
	}
	if err != nil {
		return fmt.Errorf("guest %s: put %s: %w", g.cfg.Name, to, err)
	}
	return nil
}
