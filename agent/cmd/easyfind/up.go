package main

import (
	"log/slog"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/internal/logging"
)

type upCommand struct {
	agent.Config `embed:""`
	LogLevel     slog.Level `default:"INFO" help:"Log records of at least this level: DEBUG, INFO, WARN or ERROR."`
}

// Help is shown below the command's flags.
func (*upCommand) Help() string {
	return `Each flag can also be set in the settings file (--config), under the name of the flag, and by the
environment variable that is shown with it. As root, the agent can share every device and attach remote devices.
As another user, it can share the devices whose files in /dev/bus/usb that user may write.

Examples:

  easyfind up --rendezvous "https://rendezvous.example.org:8443/#pin=...&invite=..."
  easyfind up --virtual disk,keyboard       with a disk and a keyboard made of software, to try EasyFind
  easyfind up --tcp-listen :7575            accept unencrypted links too, in a trusted network`
}

// Run runs the agent until it is stopped.
func (c *upCommand) Run(p *program) error {
	cfg := c.Config
	if cfg.State == "" {
		cfg.State = p.paths.state
	}
	if cfg.Socket == "" {
		cfg.Socket = p.paths.socket
	}
	cfg.Version = versionString()
	cfg.Logger = logging.New(p.err, logging.Options{Level: c.LogLevel, Format: logging.Text, Terminal: p.errTTY})
	a, err := agent.New(cfg)
	if err != nil {
		return err
	}
	return a.Run(p.ctx)
}
