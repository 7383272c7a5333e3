package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/internal/settings"
)

const exitUsage = 2

// program is what a command has of the world.
type program struct {
	ctx            context.Context
	in             io.Reader
	out, err       io.Writer
	outTTY, errTTY bool
	now            func() time.Time
	places         places
	json           bool // set by the command's flag
}

// places are where the agent's files are if nobody says otherwise.
type places struct{ state, socket string }

// placesOf follows the file hierarchy for root and the XDG base directories
// for everybody else.
func placesOf(uid int, env func(string) string) places {
	if uid == 0 {
		return places{state: "/var/lib/easyfind", socket: "/run/easyfind/easyfind.sock"}
	}
	state := env("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		state = filepath.Join(env("HOME"), ".local", "state")
	}
	state = filepath.Join(state, "easyfind")
	runtime := env("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(runtime) {
		return places{state: state, socket: filepath.Join(state, "easyfind.sock")}
	}
	return places{state: state, socket: filepath.Join(runtime, "easyfind", "easyfind.sock")}
}

// run parses the arguments, runs the command and returns the exit code.
func (p *program) run(args []string) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	helped := false
	options := append(settings.Options("easyfind", description),
		kong.Writers(p.out, p.err),
		kong.Exit(func(int) { helped = true }),
		kong.ExplicitGroups(groups),
		kong.Vars{"state": p.places.state, "socket": p.places.socket},
	)
	parser, err := kong.New(&commands{}, options...)
	if err != nil {
		return p.fail(err)
	}
	command, err := parser.Parse(args)
	switch {
	case helped:
		return 0
	case err != nil:
		p.fail(fmt.Errorf("%w; see: easyfind --help", err))
		return exitUsage
	}
	if err := command.Run(p); err != nil {
		return p.fail(err)
	}
	return 0
}

// fail says what went wrong in one sentence, and for programs on the standard
// output too.
func (p *program) fail(err error) int {
	if p.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = &localapi.Problem{Code: localapi.CodeFailed, Detail: "interrupted"}
	}
	if p.json {
		_ = p.document(localapi.ProblemOf(err)) // the exit code says it too
	}
	fmt.Fprintln(p.err, "easyfind:", clean(localapi.ProblemOf(err).Detail))
	return localapi.ExitCode(err)
}

// say writes a line for a person, nothing with --json. Text in args may come
// from other machines and from devices: it cannot play with the terminal.
func (p *program) say(format string, args ...any) {
	if p.json {
		return
	}
	fmt.Fprintf(p.out, format+"\n", cleaned(args)...)
}

// note writes a line for a person who waits.
func (p *program) note(format string, args ...any) {
	fmt.Fprintf(p.err, format+"\n", cleaned(args)...)
}

// result writes v as JSON where that is wanted, else what human says.
func (p *program) result(v any, human func()) error {
	if p.json {
		return p.document(v)
	}
	human()
	return nil
}

// document writes one JSON document on one line.
func (p *program) document(v any) error {
	if err := json.NewEncoder(p.out).Encode(v); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// table writes aligned columns under a heading, indented by two.
func (p *program) table(head []string, rows [][]string) {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = clean(cell)
			if cell == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	_ = w.Flush() // the output is gone; the next line will notice as well
}

func cleaned(args []any) []any {
	for i, a := range args {
		switch a := a.(type) {
		case string:
			args[i] = clean(a)
		case fmt.Stringer:
			args[i] = clean(a.String())
		}
	}
	return args
}

// clean replaces what a terminal would obey or break a line at.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// asking is what every command has that asks the running agent.
type asking struct {
	Socket string `help:"Socket of the running agent." default:"${socket}" placeholder:"PATH"`
	JSON   bool   `name:"json" help:"Write JSON, one document a line."`
}

// agent begins a command.
func (a asking) agent(p *program) *localapi.Client {
	p.json = a.JSON
	return localapi.NewClient(a.Socket)
}
