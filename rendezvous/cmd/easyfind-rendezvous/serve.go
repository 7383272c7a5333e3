package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/easyfind-usb/easyfind/rendezvous"
)

type serveCommand struct{}

// whoMayJoin says what the join link is worth.
func whoMayJoin(open bool) string {
	if open {
		return "The server is open: anybody who reaches it can join, with this link or without. Start it without --open to keep it to whom you invite."
	}
	return "Who has this link can join: keep it to those who may."
}

// Run serves until the program's context ends.
func (*serveCommand) Run(p *program, c *commands) error {
	data := c.Server.Data
	c.Server.OnReady = func(link string) {
		fmt.Fprintf(p.out, "\nJoin this rendezvous with:\n\n    easyfind up --rendezvous '%s'\n\n%s It is kept in %s.\n\n",
			link, whoMayJoin(c.Server.Open), filepath.Join(data, rendezvous.JoinLinkFile))
		if admin := rendezvous.KeptAdminLink(data); admin != "" {
			fmt.Fprintf(p.out, "Administer it with this link, which is good once and for a day:\n\n    %s\n\nIt is kept in %s.\n\n",
				admin, filepath.Join(data, rendezvous.AdminLinkFile))
		}
		p.tell(c, "READY=1")
	}
	server, err := rendezvous.New(c.Server)
	if err != nil {
		return err
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, stop := context.WithCancel(p.ctx)
	defer stop()
	defer context.AfterFunc(p.ctx, func() { p.tell(c, "STOPPING=1") })()
	beside.Go(func() { keepMemory(ctx) })
	if !p.errTTY { // at a terminal it is the end of the terminal
		defer onHangup(server.Reload)()
	}
	return server.Run(ctx)
}

// onHangup calls f at each hang-up signal until it is stopped.
func onHangup(f func()) (stop func()) {
	signals, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer close(ended)
		for range signals {
			f()
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-ended
	}
}

// tell says to whom has started the service how it is.
func (p *program) tell(c *commands, state string) {
	if err := notify(p.notify, state); err != nil {
		c.Server.Logger.Warn("the service manager was not told", "state", state, "err", err)
	}
}

type joinLinkCommand struct{}

// Help is shown below the command's flags.
func (*joinLinkCommand) Help() string {
	return "The link is kept in the data directory since the server was first started. Who has it can join."
}

// Run prints the kept link.
func (*joinLinkCommand) Run(p *program, c *commands) error {
	link, err := rendezvous.KeptJoinLink(c.Server.Data)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.out, link)
	return err
}

type adminLinkCommand struct{}

// Help is shown below the command's flags.
func (*adminLinkCommand) Help() string {
	return "The link is good once and for a day, and kept in the data directory until then. The server may be running."
}

// Run makes a link and prints it.
func (*adminLinkCommand) Run(p *program, c *commands) error {
	link, err := rendezvous.NewAdminLink(p.ctx, c.Server)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.out, link)
	return err
}
