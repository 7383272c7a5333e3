package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous"
)

type backupCommand struct {
	File string `arg:"" help:"File to write, or - for the standard output."`
}

// Help is shown below the command's flags.
func (*backupCommand) Help() string {
	return `The backup contains the database at one moment, the self-signed certificate with its key, and the links.
Anybody who has it can impersonate this server: keep it secret. Only its owner can read the file, which appears when
it is complete. It does not contain the certificate of --tls-cert, the key of --database-key, or the settings.

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
	File  string `arg:"" help:"Backup to read, or - for the standard input."`
	Force bool   `env:"-" help:"Replace a database that contains data."`
}

// Help is shown below the command's flags.
func (*restoreCommand) Help() string {
	return `Stop every instance first. The command verifies the whole backup before it changes anything. Then it
restores everything or nothing. The backup may come from an older version and from the other database engine: with
--database-url it is restored to Postgres, otherwise to the data directory. If the public URL stays the same, agents
reconnect by themselves.`
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
	_, err = fmt.Fprintf(p.out, "Restored a backup of %s (%s, version %s).\nNow start the server.\n",
		done.Made.Local().Format(time.DateTime), done.Engine, done.Software)
	return err
}
