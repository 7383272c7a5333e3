// Command easyfind shares the USB devices of this machine with other machines, and
// uses theirs, across the internet.
//
// "easyfind up" is the agent. Every other command calls the agent on the same machine
// over a unix socket.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{
		ctx: ctx, in: os.Stdin, out: os.Stdout, err: os.Stderr, now: time.Now,
		paths:  defaultPaths(os.Geteuid(), os.Getenv),
		outTTY: term.IsTerminal(int(os.Stdout.Fd())), errTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
	os.Exit(p.run(os.Args[1:]))
}
