// Package accesslink creates the links by which agents join and administrators sign
// in for the first time, and stores them in the data directory.
package accesslink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/datadir"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// JoinFile is the name of the file in the data directory with the join link. Only the
// server's user may read it.
const JoinFile = "join-link"

// The invite of the join link admits any number of peers. A start of the server
// replaces it long before it expires.
const (
	inviteTTL       = 365 * 24 * time.Hour
	inviteRenewal   = 300 * 24 * time.Hour
	maxLinkFileSize = 4096 // bytes
)

// Links creates the links of a server.
type Links struct {
	Dir    string     // data directory
	Origin string     // https://host:port of the server
	Pin    *ident.Pin // of the certificate; nil: clients verify it as browsers do
}

// Join creates the join link, stores it and returns it. It keeps the invite of the
// stored link if that is still good. The link of an open server has no invite.
func (l Links) Join(ctx context.Context, invites *peers.Invites, open bool) (string, error) {
	path := filepath.Join(l.Dir, JoinFile)
	stored, since := storedInvite(path)
	code := ""
	if !open {
		var i peers.Invite
		var err error
		code, i, err = invites.CreateInvite(ctx, peers.InviteSpec{Code: stored, Label: "join link", TTL: inviteTTL})
		if err == nil && i.Revoked { // an administrator wants another link
			stored = ""
			code, _, err = invites.CreateInvite(ctx, peers.InviteSpec{Label: "join link", TTL: inviteTTL})
		}
		if err != nil {
			return "", fmt.Errorf("invite of the join link: %w", err)
		}
	}
	link := l.WithInvite(code)
	err := datadir.WriteFile(path, []byte(link+"\n"))
	if err == nil && stored != "" {
		err = os.Chtimes(path, since, since) // the age of the file is that of the invite
	}
	if err != nil {
		return "", fmt.Errorf("store the join link: %w: choose another directory with --data, "+
			"or let this user write there", err)
	}
	return link, nil
}

// WithInvite returns the link with which agents join with an invite. code is "" on an
// open server.
func (l Links) WithInvite(code string) string {
	parameters := url.Values{}
	if code != "" {
		parameters.Set("invite", code)
	}
	return l.link("/", parameters)
}

// link returns a link with parameters, which only the reader of the link sees, and the
// pin.
func (l Links) link(path string, parameters url.Values) string {
	if l.Pin != nil {
		parameters.Set("pin", l.Pin.String())
	}
	link := l.Origin + path
	if len(parameters) > 0 {
		link += "#" + parameters.Encode()
	}
	return link
}

// storedInvite returns the invite of the stored link and its age. It returns "" if
// there is no link or its invite is old.
func storedInvite(path string) (code string, since time.Time) {
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) > inviteRenewal {
		return "", since
	}
	link, err := read(path)
	if err != nil {
		return "", since
	}
	return Parameter(link, "invite"), info.ModTime()
}

// Parameter returns a parameter of a link, or "".
func Parameter(link, name string) string {
	_, fragment, _ := strings.Cut(link, "#")
	values, err := url.ParseQuery(fragment)
	if err != nil {
		return ""
	}
	return values.Get(name)
}

// read reads the file of a link.
func read(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read a link: %w", err)
	}
	if len(raw) > maxLinkFileSize {
		return "", fmt.Errorf("%s is not a link", path)
	}
	return strings.TrimSpace(string(raw)), nil
}

// StoredJoin returns the join link in a data directory.
func StoredJoin(dir string) (string, error) {
	link, err := read(filepath.Join(dir, JoinFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no join link in %s yet: start the server once", dir)
	}
	return link, err
}
