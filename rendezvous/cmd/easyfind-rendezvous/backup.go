package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous"
)

type backupCommand struct {
	File string `arg:"" help:"Where to write it; - is the standard output."`
}

// Help is shown below the command's flags.
func (*backupCommand) Help() string {
	return `It holds the database as it is at one moment, whichever engine, the server's own certificate and its key, and the
links: who has it can be this server. The file is readable by its owner only and appears when it is complete. A
certificate of --tls-cert is not in it, nor the key of --database-key, nor the settings.

  easyfind-rendezvous --config /etc/easyfind/rendezvous.yaml backup /var/backups/rendezvous.bak`
}

// Run writes a backup.
func (c *backupCommand) Run(p *program, all *commands) error {
	if c.File == "-" {
		return rendezvous.Backup(p.ctx, all.Server, p.out)
	}
	out, err := os.CreateTemp(filepath.Dir(c.File), filepath.Base(c.File)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	err = rendezvous.Backup(p.ctx, all.Server, out)
	if err == nil {
		err = out.Sync()
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		err = os.Rename(out.Name(), c.File)
	}
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return nil
}

type restoreCommand struct {
	File  string `arg:"" help:"The backup; - is the standard input."`
	Force bool   `env:"-" help:"Replace a database that is in use."`
}

// Help is shown below the command's flags.
func (*restoreCommand) Help() string {
	return `Stop every instance first. The backup is read and checked wholly before anything is touched, and then put in place
wholly or not at all. It may be of an older version, and of the other engine: with --database-url it goes into
Postgres, without into the data directory. Agents go on as if nothing had been, at the same public URL.`
}

// Run restores a backup.
func (c *restoreCommand) Run(p *program, all *commands) error {
	in := p.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		defer f.Close()
		in = f
	}
	done, err := rendezvous.Restore(p.ctx, all.Server, in, c.Force)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	_, err = io.WriteString(p.out, fmt.Sprintf("Restored: a backup of %s, made of %s by version %s.\nNow start the server.\n",
		done.Made.Local().Format(time.DateTime), done.Engine, done.Software))
	return err
}
