// Package selfcheck checks a rendezvous from its own machine: the data directory, the
// database, the ports, the other instances, and what a peer sees at the public address.
package selfcheck

import (
	"context"
	"net"
	"os"
	"path/filepath"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/accesslink"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/config"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/datadir"
)

// minFreeSpace is the space in the data directory below which the doctor reports a
// problem, in bytes.
const minFreeSpace = 64 << 20

// Config describes the server to check.
type Config struct {
	Dir      string // data directory
	Database database.Location
	Listen   string // address of the HTTPS port
	Ports    []Port // all ports, including that of Listen
	// Link is the join link or the https:// address of another server. The public
	// address of that server is then checked instead. It may be "".
	Link string
}

// Port is a port in the settings.
type Port struct{ Flag, Network, Address string }

// Run checks the server, which may be running or not.
func (c Config) Run(ctx context.Context) []doctor.Finding {
	found := []doctor.Finding{c.checkData()}
	db, more := c.checkDatabase(ctx)
	found = append(found, more...)
	if db != nil {
		defer db.Close()
		found = append(found, c.checkCluster(ctx, db)...)
	}
	target, err := c.target()
	if err != nil {
		return append(found, doctor.Note("server", "start the server, and run the doctor again", "not checked: %v",
			err))
	}
	running := c.answers(ctx, target)
	found = append(found, c.checkPorts(running)...)
	if db != nil && c.Link == "" {
		target.Credentials = credentials(db)
	}
	return append(found, c.checkPublic(ctx, target, running)...)
}

// target returns the server of Link, or that of the stored join link.
func (c Config) target() (doctor.Target, error) {
	link := c.Link
	if link == "" {
		var err error
		if link, err = accesslink.StoredJoin(c.Dir); err != nil {
			return doctor.Target{}, err
		}
	}
	j, err := api.ParseJoinLink(link)
	return doctor.Target{Link: j, Inside: c.Link == ""}, err
}

// checkPublic checks the server at its public address, as a peer sees it. Some routers
// do not let their own network use the public address. A server that runs here but does
// not answer there is therefore not reported as wrong.
func (c Config) checkPublic(ctx context.Context, t doctor.Target, running bool) []doctor.Finding {
	found := doctor.Outside(ctx, t)
	if running && c.Link == "" {
		for i, f := range found {
			if f.Check == "address" && f.Verdict == doctor.Wrong {
				found[i] = doctor.Note(f.Check,
					"run easyfind doctor in another network: only that shows whether peers can connect", "%s", f.Detail)
			}
		}
	}
	if host, _, err := net.SplitHostPort(t.Link.Host); err == nil && c.Link == "" && config.OnlyLocal(host) {
		found = append(found, doctor.Note("public URL",
			"set --public-url to the address of this machine for others, and restart the server",
			"only this machine can reach %s", t.Link.Host))
	}
	return append(found, doctor.Note("from outside", "run easyfind doctor on an agent in another network",
		"this machine cannot see what firewalls and routers do to others"))
}

// checkData checks the data directory.
func (c Config) checkData() doctor.Finding {
	const check = "data directory"
	info, err := os.Stat(c.Dir)
	switch {
	case err != nil:
		return doctor.Note(check, "the first start creates it", "%v", err)
	case !info.IsDir():
		return doctor.Bad(check, "choose another with --data", "%s is a file", c.Dir)
	}
	probe, err := os.CreateTemp(c.Dir, ".doctor-*")
	if err != nil {
		return doctor.Bad(check, "choose another with --data, or let the server's user write there", "%v", err)
	}
	probe.Close()
	os.Remove(probe.Name())
	files, err := os.ReadDir(c.Dir)
	if err != nil {
		return doctor.Bad(check, "choose another with --data, or let the server's user read there", "%v", err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
			return doctor.Bad(check, "chmod 600 "+filepath.Join(c.Dir, f.Name()),
				"every user can read or change %s", f.Name())
		}
	}
	if free, ok := datadir.FreeSpace(c.Dir); ok && free < minFreeSpace {
		return doctor.Bad(check, "free some space: without it nobody can register or pair",
			"%s has %d MiB of space left", c.Dir, free>>20)
	}
	return doctor.Good(check, "%s is writable, and other users cannot read its files", c.Dir)
}
