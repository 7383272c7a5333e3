// Command easyfind-load loads a rendezvous with many simulated agents and reports its
// performance.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/easyfind-usb/easyfind/internal/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c command
	kong.Parse(&c, settings.Options("easyfind-load",
		"Loads a rendezvous with many simulated agents and reports its performance. It removes the agents that it "+
			"registered. A rendezvous lets one address register 30 agents at once and 30 more per minute: "+
			"--sources gives each agent its own address.")...)
	if err := c.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "easyfind-load:", err)
		os.Exit(1)
	}
}
