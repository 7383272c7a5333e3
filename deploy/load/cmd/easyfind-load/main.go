// Command easyfind-load puts a rendezvous under the load of many simulated
// agents, and reports how it fared.
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
	kong.Parse(&c, settings.Options("easyfind-load", "Puts a rendezvous under the load of many simulated agents, and reports how it fared. What it registers it removes again.")...)
	if err := c.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "easyfind-load:", err)
		os.Exit(1)
	}
}
