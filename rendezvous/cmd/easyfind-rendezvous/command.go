package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/alecthomas/kong"

	"github.com/easyfind-usb/easyfind/rendezvous"
)

// command is the command line.
type command struct {
	Config   kong.ConfigFlag   `help:"Read settings from this YAML file." type:"existingfile"`
	LogLevel slog.Level        `name:"log-level" help:"Least level of what is logged: debug, info, warn or error." default:"info"`
	Server   rendezvous.Config `embed:""`
}

// run serves until ctx ends, or prints the join link.
func (c *command) run(ctx context.Context, out, log io.Writer) error {
	if c.Server.PrintJoinLink {
		link, err := rendezvous.KeptJoinLink(c.Server.Data)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, link)
		return err
	}
	c.Server.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: c.LogLevel}))
	c.Server.OnReady = func(link string) {
		fmt.Fprintf(out, "\nJoin this rendezvous with:\n\n    easyfind up --rendezvous '%s'\n\nWho has this link can join: keep it to those who may. It is kept in %s.\n\n",
			link, filepath.Join(c.Server.Data, rendezvous.JoinLinkFile))
		if admin := rendezvous.KeptAdminLink(c.Server.Data); admin != "" {
			fmt.Fprintf(out, "Administer it with this link, which is good once and for a day:\n\n    %s\n\nIt is kept in %s.\n\n",
				admin, filepath.Join(c.Server.Data, rendezvous.AdminLinkFile))
		}
	}
	server, err := rendezvous.New(c.Server)
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
