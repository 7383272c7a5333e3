// Command easyfind-demo shows EasyFind at work on one machine; see package demo.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/demo"
)

func main() {
	document := flag.Bool("json", false, "write the findings as a JSON document, and the text to the standard error")
	keep := flag.Bool("keep", false, "keep the directory with the state and the logs of all three processes")
	limit := flag.Duration("limit", 40*time.Second, "time limit of the demo; longer for slow machines")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *document, demo.Config{Keep: *keep, Limit: *limit}); err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, document bool, cfg demo.Config) error {
	var out io.Writer = os.Stdout
	if document {
		out = os.Stderr
	}
	self, err := os.Executable()
	if err != nil {
		return report(fmt.Errorf("path of this program: %w", err))
	}
	cfg.Programs, cfg.Out, cfg.Terminal = filepath.Dir(self), out, isTerminal(out)
	d, err := demo.New(cfg)
	if err != nil {
		return report(err)
	}
	found, err := d.Run(ctx)
	if document {
		if bad := json.NewEncoder(os.Stdout).Encode(found); bad != nil {
			return report(bad)
		}
	}
	return err
}

// report writes an error to the standard error and returns it.
func report(err error) error {
	fmt.Fprintln(os.Stderr, "easyfind-demo:", err)
	return err
}

// isTerminal reports whether out is a character device. A file and a pipe are not.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
