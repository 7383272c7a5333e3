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

// joinAdvice returns the text that says who can join.
func joinAdvice(open bool) string {
	if open {
		return "The server is open: anybody who can reach it can join, even without this link.\n" +
			"To require an invite, start it without --open."
	}
	return "Anybody who has this link can join: give it only to people that you trust."
}

// Run serves until the program's context ends.
func (*serveCommand) Run(p *program, c *commands) error {
	data := c.Server.Data
	c.Server.OnReady = func(link string) {
		fmt.Fprintf(p.out, "\nTo join this rendezvous, run:\n\n    easyfind up --rendezvous '%s'\n\n%s\nThe link "+
			"is stored in %s.\n\n",
			link, joinAdvice(c.Server.Open), filepath.Join(data, rendezvous.JoinLinkFile))
		if admin := rendezvous.KeptAdminLink(data); admin != "" {
			fmt.Fprintf(p.out, "To administer it, open this link, which works once and for a day:\n\n    %s\n\nThe "+
				"link is stored in %s.\n\n",
				admin, filepath.Join(data, rendezvous.AdminLinkFile))
		}
		p.notifyManager(c, "READY=1")
	}
	server, err := rendezvous.New(c.Server)
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	ctx, stop := context.WithCancel(p.ctx)
	defer stop()
	defer context.AfterFunc(p.ctx, func() { p.notifyManager(c, "STOPPING=1") })()
	background.Go(func() { keepMemory(ctx) })
	if !p.errTTY { // at a terminal, SIGHUP means that the terminal was closed
		defer onHangup(server.Reload)()
	}
	return server.Run(ctx)
}

// onHangup calls f at each SIGHUP until stop is called.
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

// notifyManager sends a state to the service manager.
func (p *program) notifyManager(c *commands, state string) {
	if err := notify(p.notify, state); err != nil {
		c.Server.Logger.Warn("cannot notify the service manager", "state", state, "err", err)
	}
}

type joinLinkCommand struct{}

// Help is shown below the command's flags.
func (*joinLinkCommand) Help() string {
	return "The first start of the server creates the link and stores it in the data directory. Anybody who has it " +
		"can join."
}

// Run prints the stored link.
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
	return "The link works once and for a day. It is stored in the data directory until it is used. The server may " +
		"be running."
}

// Run creates a link and prints it.
func (*adminLinkCommand) Run(p *program, c *commands) error {
	link, err := rendezvous.NewAdminLink(p.ctx, c.Server)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.out, link)
	return err
}
