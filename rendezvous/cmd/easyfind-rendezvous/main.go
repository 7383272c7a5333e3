// Command easyfind-rendezvous is the server by which the agents of EasyFind
// find each other.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/easyfind-usb/easyfind/deploy/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c command
	kong.Parse(&c, settings.Options("easyfind-rendezvous", "The server by which the agents of EasyFind find each other.")...)
	if err := c.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "easyfind-rendezvous:", err)
		os.Exit(1)
	}
}
