package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

// Config says where the demo finds its programs and whom it tells.
type Config struct {
	Programs string        // directory of easyfind and easyfind-rendezvous
	Keep     bool          // leave the directory with state and logs
	Limit    time.Duration // of the story, before cleaning up; 0: 40 s
	Out      io.Writer     // the story, for a person
	Terminal bool          // Out is a terminal: a line may be written over
}

// The programs and what the demo calls their processes.
const (
	rendezvousProgram = "easyfind-rendezvous"
	agentProgram      = "easyfind"

	rendezvousName = "rendezvous"
	hostName       = "workshop"
	clientName     = "laptop"
)

// The devices of the workshop, by their bus ids.
const (
	diskID     = "v-disk"
	keyboardID = "v-keyboard"
)

const defaultLimit = 40 * time.Second

// Demo is a demo that can be run once.
type Demo struct {
	cfg       Config
	out       *narrator
	dir       string // of everything that the processes write
	processes []*process
	host      *localapi.Client
	client    *localapi.Client
	found     Findings

	// linked is the link as it was before the disk was read.
	linked localapi.Link
}

// New checks that the programs are there. It starts nothing.
func New(cfg Config) (*Demo, error) {
	if cfg.Programs == "" || cfg.Out == nil {
		return nil, errors.New("demo: the programs' directory and an output are needed")
	}
	if cfg.Limit <= 0 {
		cfg.Limit = defaultLimit
	}
	d := &Demo{cfg: cfg, out: &narrator{out: cfg.Out, terminal: cfg.Terminal}}
	for _, name := range []string{agentProgram, rendezvousProgram} {
		if _, err := os.Stat(d.program(name)); err != nil {
			return nil, fmt.Errorf("%s is not beside this program (%w): build them together with: make build", name, err)
		}
	}
	return d, nil
}

// program is the path of a program.
func (d *Demo) program(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(d.cfg.Programs, name)
}

// step is a part of the story.
type step struct {
	title string
	run   func(*Demo, context.Context) error
}

// steps is the story.
var steps = []step{
	{"A rendezvous, which peers find each other by", (*Demo).startRendezvous},
	{"Two agents, one for each end", (*Demo).startAgents},
	{"Pairing, once, by EasyFind address and PIN", (*Demo).pair},
	{"The workshop shares a disk and a keyboard", (*Demo).share},
	{"The laptop uses them", (*Demo).use},
	{"The path between the two", (*Demo).showPath},
	{"The disk, read at the far end", (*Demo).readDisk},
	{"The keyboard, typed on at one end and read at the other", (*Demo).readKeyboard},
	{"Giving it all back", (*Demo).giveBack},
}

// ErrInterrupted is the error of a demo that was given up.
var ErrInterrupted = errors.New("interrupted")

// Run plays the demo and cleans up behind it. The error says which check did
// not hold; the findings are what is known until then.
func (d *Demo) Run(ctx context.Context) (Findings, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.Limit, fmt.Errorf("the demo took longer than %v; a slow machine needs a longer --limit", d.cfg.Limit))
	defer cancel()
	err := d.play(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		err = ErrInterrupted
		d.out.line("\nInterrupted.")
	case err != nil:
		err = errors.Join(err, d.died())
		d.tell(err)
	}
	if last := d.cleanUp(); err == nil && last != nil {
		err = last
		d.out.line("\nFAILED: %v", err)
	}
	d.found.Seconds = time.Since(began).Seconds()
	d.found.OK = err == nil
	if err != nil {
		d.found.Problem = err.Error()
		return d.found, err
	}
	d.out.line("\nEvery one of %d checks held, in %.1f s.", len(d.found.Checks), d.found.Seconds)
	return d.found, nil
}

func (d *Demo) play(ctx context.Context) error {
	var err error
	if d.dir, err = os.MkdirTemp("", "easyfind-"); err != nil {
		return fmt.Errorf("directory for the demo: %w", err)
	}
	d.out.line("EasyFind lends USB devices from one machine to another. Here both ends, and the rendezvous by which")
	d.out.line("they meet, run on this one machine: three processes that talk to each other over 127.0.0.1 only.")
	for n, s := range steps {
		d.out.line("\n%d. %s", n+1, s.title)
		if err := s.run(d, ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("step %d, %q: %w", n+1, s.title, err)
		}
	}
	return nil
}

// check notes that something held; if it does not, that is the error.
func (d *Demo) check(what string, ok bool, otherwise string, args ...any) error {
	c := Check{What: what, OK: ok}
	if !ok {
		c.Detail = fmt.Sprintf(otherwise, args...)
	}
	d.found.Checks = append(d.found.Checks, c)
	if !ok {
		return fmt.Errorf("%s: no: %s", what, c.Detail)
	}
	return nil
}

// cleanUp ends what still runs and removes the directory.
func (d *Demo) cleanUp() error {
	err := d.stopAll()
	switch {
	case d.dir == "":
	case d.cfg.Keep:
		d.out.line("\nState and logs of all three are kept in %s", d.dir)
	default:
		if gone := os.RemoveAll(d.dir); gone != nil {
			err = errors.Join(err, fmt.Errorf("the demo's directory stays: %w", gone))
		}
	}
	return err
}

// tell shows a failure and the end of every log.
func (d *Demo) tell(err error) {
	const lines = 12
	d.out.line("\nFAILED: %v", err)
	for _, p := range d.processes {
		d.out.line("\nThe last lines of the %s's log:", p.name)
		for _, l := range p.tail(lines) {
			d.out.say("%s", l)
		}
	}
}
