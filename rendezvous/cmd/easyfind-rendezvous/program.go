package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/alecthomas/kong"

	"github.com/easyfind-usb/easyfind/internal/logging"
	"github.com/easyfind-usb/easyfind/internal/settings"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

const description = `The server through which the agents of EasyFind find each other.

Without a command it serves. Each setting can be a flag, a key of the settings file or an environment variable. For
example, --public-url is "public-url:" in the file and EASYFIND_PUBLIC_URL in the environment. All commands have the
same settings.

  easyfind-rendezvous --public-url https://rendezvous.example.org:8443
  easyfind-rendezvous join-link              print the link with which agents join
  easyfind-rendezvous doctor                 check the server, and say what to do
  easyfind-rendezvous backup rendezvous.bak  back up the database, certificate and links`

const exitUsage = 2

// program holds the environment of a command.
type program struct {
	ctx      context.Context
	in       io.Reader
	out, err io.Writer
	errTTY   bool
	notify   string // socket of the service manager; may be ""
}

// commands defines the command line.
type commands struct {
	Config    kong.ConfigFlag   `help:"Read settings from this YAML file." type:"existingfile" placeholder:"FILE"`
	LogLevel  slog.Level        `default:"info" help:"Lowest level that is logged: debug, info, warn or error."`
	LogFormat logging.Format    `enum:"auto,text,json" default:"auto" help:"${log_format_help}"`
	Server    rendezvous.Config `embed:""`

	Serve     serveCommand     `cmd:"" default:"1" help:"Serve until a signal arrives. This is the default."`
	Doctor    doctorCommand    `cmd:"" help:"Check the server, and say what to do."`
	JoinLink  joinLinkCommand  `cmd:"" help:"Print the link with which agents join."`
	AdminLink adminLinkCommand `cmd:"" help:"Print a new one-time link for an administrator."`
	Backup    backupCommand    `cmd:"" help:"Write the database, certificate and links to a file."`
	Restore   restoreCommand   `cmd:"" help:"Replace everything by a backup."`
}

// options returns the options of the command line.
func options() []kong.Option {
	texts := kong.Vars(rendezvous.HelpTexts())
	texts["log_format_help"] = "Format of the log: text, json, or auto, which is text at a terminal and otherwise json."
	return append(settings.Options("easyfind-rendezvous", description), texts)
}

// run parses the arguments, runs the command and returns the exit code.
func (p *program) run(args []string) int {
	helped := false
	var c commands
	parser, err := kong.New(&c,
		append(options(), kong.Writers(p.out, p.err), kong.Exit(func(int) { helped = true }))...)
	if err != nil {
		return p.fail(err, 1)
	}
	command, err := parser.Parse(args)
	switch {
	case helped:
		return 0
	case err != nil:
		return p.fail(fmt.Errorf("%w; see: easyfind-rendezvous --help", err), exitUsage)
	}
	c.Server.Logger = logging.New(p.err, logging.Options{Level: c.LogLevel, Format: c.LogFormat, Terminal: p.errTTY})
	if err := command.Run(p, &c); err != nil {
		return p.fail(err, 1)
	}
	return 0
}

// fail prints an error without secrets, and returns the exit code.
func (p *program) fail(err error, code int) int {
	if p.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(p.err, "easyfind-rendezvous:", logging.Scrub(err.Error()))
	return code
}
