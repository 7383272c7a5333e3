package main

import (
	"log/slog"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/internal/logging"
)

type upCommand struct {
	agent.Config `embed:""`
	LogLevel     slog.Level `default:"INFO" help:"Log this and what is worse: DEBUG, INFO, WARN or ERROR."`
}

// Help is shown below the command's flags.
func (*upCommand) Help() string {
	return `Every flag can also be set in the file that --config names, under the flag's name, and by the environment
variable shown beside it. As root the agent can reach every device and attach far ones; as another user it can use the
devices whose files under /dev/bus/usb it may write to.

Examples:

  easyfind up --rendezvous "https://rendezvous.example.org:8443/#pin=...&invite=..."
  easyfind up --virtual disk,keyboard       share a disk and a keyboard made of software, to try it out
  easyfind up --tcp-listen :7575            also unencrypted TCP, for a trusted network`
}

// Run runs the agent until it is stopped.
func (c *upCommand) Run(p *program) error {
	cfg := c.Config
	if cfg.State == "" {
		cfg.State = p.places.state
	}
	if cfg.Socket == "" {
		cfg.Socket = p.places.socket
	}
	cfg.Version = versionString()
	cfg.Logger = logging.New(p.err, logging.Options{Level: c.LogLevel, Format: logging.Text, Terminal: p.errTTY})
	a, err := agent.New(cfg)
	if err != nil {
		return err
	}
	return a.Run(p.ctx)
}
