// Package rendezvous is the server through which agents find each other. It contains
// everything except the command line, so that a test can run a real server. The package
// checks the settings and passes them to the packages below internal, which do the work.
package rendezvous

import (
	"context"
	"errors"
	"io"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/accesslink"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/archive"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/config"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/selfcheck"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/server"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// Version is the version of the server.
const Version = "0.1.0"

// Names of files in the data directory.
const (
	JoinLinkFile  = accesslink.JoinFile
	AdminLinkFile = accesslink.AdminFile
)

type (
	// Config holds the settings of the rendezvous.
	Config = config.Config
	// ACME holds the settings of a certificate from an authority.
	ACME = config.ACME
	// Server is one instance of the rendezvous.
	Server = server.Server
	// BackupInfo describes a backup that was restored.
	BackupInfo = archive.Info
)

// HelpTexts returns the variables in the help texts of Config, by name.
func HelpTexts() map[string]string { return config.HelpTexts() }

// New checks the settings and returns a server. It starts nothing.
func New(c Config) (*Server, error) {
	s, err := c.Check()
	if err != nil {
		return nil, err
	}
	return server.New(s, Version), nil
}

// location returns the location of the database.
func location(c Config) database.Location { return database.Location{URL: c.DatabaseURL, Dir: c.Data} }

// Backup writes the database, the self-signed certificate and the links to w. The server
// may be running.
func Backup(ctx context.Context, c Config, w io.Writer) error {
	if _, err := c.Check(); err != nil {
		return err
	}
	return archiveOf(c).Backup(ctx, w)
}

// Restore replaces the content of the database and of the data directory by a backup,
// which may come from either engine. It changes everything or nothing. No server may be
// running. Without force it refuses a database with data of users.
func Restore(ctx context.Context, c Config, r io.Reader, force bool) (BackupInfo, error) {
	if _, err := c.Check(); err != nil {
		return BackupInfo{}, err
	}
	return archiveOf(c).Restore(ctx, r, force)
}

func archiveOf(c Config) archive.Archive {
	return archive.Archive{Dir: c.Data, Database: location(c), Version: Version}
}

// KeptJoinLink returns the join link in the data directory of a server that was started
// before.
func KeptJoinLink(data string) (string, error) { return accesslink.StoredJoin(data) }

// KeptAdminLink returns the one-time link for an administrator in the data directory, or
// "".
func KeptAdminLink(data string) string { return accesslink.StoredAdmin(data) }

// NewAdminLink creates another one-time link for an administrator, which replaces the
// previous one, and stores it in the data directory. The server must have been started
// once and may be running.
func NewAdminLink(ctx context.Context, c Config) (string, error) {
	if _, err := c.Check(); err != nil {
		return "", err
	}
	if _, err := accesslink.StoredJoin(c.Data); err != nil {
		return "", err
	}
	db, err := database.OpenExisting(ctx, location(c))
	if err != nil {
		return "", err
	}
	defer db.Close()
	all, err := services.New(services.Config{Database: db})
	if err != nil {
		return "", err
	}
	return accesslink.NewAdmin(ctx, c.Data, all.Administration)
}

// ErrSick is returned by the doctor command if something is wrong.
var ErrSick = errors.New("something is wrong: see the lines marked ✗")

// Doctor checks a server with these settings from its own machine, whether it is running
// or not. link is the join link or https:// address of another server, whose public
// address is then checked instead, or "".
func Doctor(ctx context.Context, c Config, link string) []doctor.Finding {
	if _, err := c.Check(); err != nil {
		return []doctor.Finding{doctor.Bad("settings", "", "%v", err)}
	}
	check := selfcheck.Config{
		Dir: c.Data, Database: location(c), Listen: c.Listen, Link: link,
		Ports: []selfcheck.Port{
			{Flag: "listen", Network: "tcp", Address: c.Listen},
			{Flag: "stun-listen", Network: "tcp", Address: c.STUNListen},
			{Flag: "stun-listen", Network: "udp", Address: c.STUNListen},
			{Flag: "http-listen", Network: "tcp", Address: c.HTTPListen},
			{Flag: "cluster-listen", Network: "tcp", Address: c.ClusterListen},
			{Flag: "metrics-listen", Network: "tcp", Address: c.MetricsListen},
		},
	}
	found := []doctor.Finding{doctor.Good("settings", "they are valid")}
	return append(found, check.Run(ctx)...)
}
