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

const description = `The server by which the agents of EasyFind find each other.

Without a command it serves. Every setting is a flag, a key of the settings file and an environment variable
(--public-url is public-url: in the file and EASYFIND_PUBLIC_URL), for every command alike.

  easyfind-rendezvous --public-url https://rendezvous.example.org:8443
  easyfind-rendezvous join-link              what agents join with
  easyfind-rendezvous doctor                 what is wrong, and what to do about it
  easyfind-rendezvous backup rendezvous.bak  all that must not be lost, while the server runs`

const exitUsage = 2

// program is what a command has of the world.
type program struct {
	ctx      context.Context
	in       io.Reader
	out, err io.Writer
	errTTY   bool
	notify   string // socket of the service manager; "" without one
}

// commands is the command line.
type commands struct {
	Config    kong.ConfigFlag   `help:"Read settings from this YAML file." type:"existingfile" placeholder:"FILE"`
	LogLevel  slog.Level        `name:"log-level" help:"Least level of what is logged: debug, info, warn or error." default:"info"`
	LogFormat logging.Format    `name:"log-format" help:"How: text, json, or auto, which is text at a terminal." enum:"auto,text,json" default:"auto"`
	Server    rendezvous.Config `embed:""`

	Serve     serveCommand     `cmd:"" default:"1" help:"Serve, until a signal ends it. What happens without a command."`
	Doctor    doctorCommand    `cmd:"" help:"Look what is wrong, and say what to do about it."`
	JoinLink  joinLinkCommand  `cmd:"" help:"Print the link that agents join with."`
	AdminLink adminLinkCommand `cmd:"" help:"Print a new one-time link for an administrator, in place of the one before."`
	Backup    backupCommand    `cmd:"" help:"Write all that must not be lost into one file, while the server runs."`
	Restore   restoreCommand   `cmd:"" help:"Put a backup in place of everything, also one of the other database engine."`
}

// run parses the arguments, runs the command and returns the exit code.
func (p *program) run(args []string) int {
	helped := false
	var c commands
	parser, err := kong.New(&c, append(settings.Options("easyfind-rendezvous", description),
		kong.Writers(p.out, p.err), kong.Exit(func(int) { helped = true }))...)
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

// fail says what went wrong, in one sentence and without a secret.
func (p *program) fail(err error, code int) int {
	if p.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(p.err, "easyfind-rendezvous:", logging.Scrub(err.Error()))
	return code
}
