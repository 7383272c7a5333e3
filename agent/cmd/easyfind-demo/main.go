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
	document := flag.Bool("json", false, "write one JSON document with the findings; the story goes to the standard error")
	keep := flag.Bool("keep", false, "keep the directory with the state and logs of all three programs")
	limit := flag.Duration("limit", 40*time.Second, "give up after so long, for slow machines")
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
		return complain(fmt.Errorf("where this program is: %w", err))
	}
	cfg.Programs, cfg.Out, cfg.Terminal = filepath.Dir(self), out, terminal(out)
	d, err := demo.New(cfg)
	if err != nil {
		return complain(err)
	}
	found, err := d.Run(ctx)
	if document {
		if bad := json.NewEncoder(os.Stdout).Encode(found); bad != nil {
			return complain(bad)
		}
	}
	return err
}

func complain(err error) error {
	fmt.Fprintln(os.Stderr, "easyfind-demo:", err)
	return err
}

// terminal reports whether out is a character device, which a file and a pipe
// are not.
func terminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
