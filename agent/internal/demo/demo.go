package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

// Config holds the settings of a [Demo].
type Config struct {
	Programs string        // the directory of easyfind and easyfind-rendezvous
	Keep     bool          // do not remove the directory with state and logs
	Limit    time.Duration // of the demo, without the cleanup; one step may take half of it; 0: 40 s
	Out      io.Writer     // receives the text for a person
	Terminal bool          // Out is a terminal
}

// The programs, and the names of their processes.
const (
	rendezvousProgram = "easyfind-rendezvous"
	agentProgram      = "easyfind"

	rendezvousName = "rendezvous"
	hostName       = "workshop"
	clientName     = "laptop"
)

// The bus ids of the workshop's devices.
const (
	diskID     = "v-disk"
	keyboardID = "v-keyboard"
)

const defaultLimit = 40 * time.Second

// Demo is a demo that can run once.
type Demo struct {
	story
	cfg       Config
	processes processGroup
	host      *localapi.Client
	client    *localapi.Client
	firstLink localapi.Link // of the laptop to the workshop, before the disk is read
}

// New checks that the programs exist. Run starts them.
func New(cfg Config) (*Demo, error) {
	if cfg.Programs == "" || cfg.Out == nil {
		return nil, errors.New("demo: the directory of the programs and an output are needed")
	}
	if cfg.Limit <= 0 {
		cfg.Limit = defaultLimit
	}
	d := &Demo{
		cfg: cfg, story: story{narrator: &narrator{out: cfg.Out, terminal: cfg.Terminal}},
		processes: processGroup{programs: cfg.Programs, stepTimeout: cfg.Limit / 2},
	}
	for _, name := range []string{agentProgram, rendezvousProgram} {
		if _, err := os.Stat(d.processes.programPath(name)); err != nil {
			return nil, fmt.Errorf(
				"%s is not in the directory of this program (%w): build all programs with: make build", name, err)
		}
	}
	return d, nil
}

// step is a step of the demo.
type step struct {
	title string
	run   func(*Demo, context.Context) error
}

// steps lists the steps of the demo in order.
var steps = []step{
	{"A rendezvous, where peers find each other", (*Demo).startRendezvous},
	{"Two agents, one on each machine", (*Demo).startAgents},
	{"Pairing, once, with an EasyFind address and a PIN", (*Demo).pair},
	{"The workshop shares a disk and a keyboard", (*Demo).share},
	{"The laptop uses them", (*Demo).use},
	{"The path between the two", (*Demo).showPath},
	{"The disk, read on the laptop", (*Demo).readDisk},
	{"The keyboard, typed on at the workshop and read on the laptop", (*Demo).readKeyboard},
	{"The devices go back", (*Demo).giveBack},
}

// ErrInterrupted is the error of a demo whose context was cancelled.
var ErrInterrupted = errors.New("interrupted")

// Run runs the demo and cleans up. The error names the check that failed. The findings
// are complete up to that check.
func (d *Demo) Run(ctx context.Context) (Findings, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.Limit, fmt.Errorf(
		"the demo took longer than %v; on a slow machine, set a longer --limit", d.cfg.Limit))
	defer cancel()
	err := d.runSteps(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		err = ErrInterrupted
		d.line("\nInterrupted.")
	case err != nil:
		err = errors.Join(err, d.processes.endedEarly())
		d.showFailure(err)
	}
	if cleanupErr := d.cleanUp(); err == nil && cleanupErr != nil {
		err = cleanupErr
		d.line("\nFAILED: %v", err)
	}
	d.found.Seconds = time.Since(began).Seconds()
	d.found.OK = err == nil
	if err != nil {
		d.found.Problem = err.Error()
		return d.found, err
	}
	d.line("\nAll %d checks passed, in %.1f s.", len(d.found.Checks), d.found.Seconds)
	return d.found, nil
}

func (d *Demo) runSteps(ctx context.Context) error {
	var err error
	if d.processes.dir, err = os.MkdirTemp("", "easyfind-"); err != nil {
		return fmt.Errorf("directory for the demo: %w", err)
	}
	d.line("With EasyFind, a machine uses the USB devices of another machine. Here both machines, and the rendezvous")
	d.line("where they meet, are three processes on this one machine, connected over 127.0.0.1 only.")
	for n, s := range steps {
		d.line("\n%d. %s", n+1, s.title)
		if err := s.run(d, ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("step %d, %q: %w", n+1, s.title, err)
		}
	}
	return nil
}

// cleanUp stops the processes that still run and removes the directory.
func (d *Demo) cleanUp() error {
	err := d.processes.stopAll()
	switch {
	case d.processes.dir == "":
	case d.cfg.Keep:
		d.line("\nThe state and the logs are in %s", d.processes.dir)
	default:
		if removeErr := os.RemoveAll(d.processes.dir); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("cannot remove the directory of the demo: %w", removeErr))
		}
	}
	return err
}

// showFailure shows an error and the last lines of every log.
func (d *Demo) showFailure(err error) {
	const lines = 12
	d.line("\nFAILED: %v", err)
	for _, p := range d.processes.all {
		d.line("\nThe last lines of the %s's log:", p.name)
		for _, l := range p.tail(lines) {
			d.printf("%s", l)
		}
	}
}
