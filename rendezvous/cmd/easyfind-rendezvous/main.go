// Command easyfind-rendezvous is the server through which the agents of EasyFind
// find each other. It also has commands for its operator.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{
		ctx: ctx, in: os.Stdin, out: os.Stdout, err: os.Stderr,
		errTTY: isatty.IsTerminal(os.Stderr.Fd()), notify: os.Getenv("NOTIFY_SOCKET"),
	}
	os.Exit(p.run(os.Args[1:]))
}
