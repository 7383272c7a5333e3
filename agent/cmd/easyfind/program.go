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

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/internal/settings"
)

const exitUsage = 2

// program is the environment in which a command runs.
type program struct {
	ctx            context.Context
	in             io.Reader
	out, err       io.Writer
	outTTY, errTTY bool
	now            func() time.Time
	paths          paths
	json           bool // the flag --json of the command
}

// paths holds the default paths of the agent's files.
type paths struct{ state, socket string }

// defaultPaths returns paths of the Filesystem Hierarchy Standard for root, and paths
// of the XDG Base Directory Specification for other users.
func defaultPaths(uid int, env func(string) string) paths {
	if uid == 0 {
		return paths{state: "/var/lib/easyfind", socket: "/run/easyfind/easyfind.sock"}
	}
	state := env("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		state = filepath.Join(env("HOME"), ".local", "state")
	}
	state = filepath.Join(state, "easyfind")
	runtime := env("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(runtime) {
		return paths{state: state, socket: filepath.Join(state, "easyfind.sock")}
	}
	return paths{state: state, socket: filepath.Join(runtime, "easyfind", "easyfind.sock")}
}

// run parses the arguments, runs the command and returns the exit code.
func (p *program) run(args []string) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	helpShown := false
	options := append(settings.Options("easyfind", description),
		kong.Writers(p.out, p.err),
		kong.Exit(func(int) { helpShown = true }),
		kong.ExplicitGroups(groups),
		helpTexts(p.paths),
	)
	parser, err := kong.New(&commands{}, options...)
	if err != nil {
		return p.fail(err)
	}
	command, err := parser.Parse(args)
	switch {
	case helpShown:
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

// helpTexts returns the variables in the help texts of the flags.
func helpTexts(p paths) kong.Vars {
	texts := kong.Vars(agent.HelpTexts(p.state, p.socket))
	texts["with_help"] = "Share only with this machine. May be repeated. " +
		"Without it, the device is shared with every paired machine."
	return texts
}

// fail writes the problem in one sentence to the standard error. With --json it also
// writes it to the standard output. It returns the exit code.
func (p *program) fail(err error) int {
	if p.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = &localapi.Problem{Code: localapi.CodeFailed, Detail: "interrupted"}
	}
	if p.json {
		_ = p.document(localapi.ProblemOf(err)) // the exit code reports it too
	}
	fmt.Fprintln(p.err, "easyfind:", clean(localapi.ProblemOf(err).Detail))
	return localapi.ExitCode(err)
}

// printf writes a line for a person, or nothing with --json. The arguments may come
// from other machines and devices, so that printf removes control characters.
func (p *program) printf(format string, args ...any) {
	if p.json {
		return
	}
	fmt.Fprintf(p.out, format+"\n", cleaned(args)...)
}

// notef writes a line about the progress to the standard error.
func (p *program) notef(format string, args ...any) {
	fmt.Fprintf(p.err, format+"\n", cleaned(args)...)
}

// result writes the result of a command: v as JSON with --json, or else for a person by
// calling print.
func (p *program) result(v any, print func()) error {
	if p.json {
		return p.document(v)
	}
	print()
	return nil
}

// document writes a JSON document on one line.
func (p *program) document(v any) error {
	if err := json.NewEncoder(p.out).Encode(v); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// table writes aligned columns with a heading, indented by two spaces.
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
	_ = w.Flush() // fails if the output is closed, as every later write does
}

// cleaned applies clean to the texts among the arguments.
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

// clean replaces control characters and line breaks.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// agentFlags holds the flags of every command that calls the running agent.
type agentFlags struct {
	Socket string `help:"Socket of the running agent." default:"${socket}" placeholder:"PATH"`
	JSON   bool   `name:"json" help:"Write JSON, one document per line."`
}

// agent returns a client of the running agent.
func (a agentFlags) agent(p *program) *localapi.Client {
	p.json = a.JSON
	return localapi.NewClient(a.Socket)
}
