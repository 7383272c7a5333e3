package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// JoinLinkFile is the file in the data directory that holds the join link, for
// scripts; only the server's user may read it.
const JoinLinkFile = "join-link"

// The invite of the join link is good for any number of peers, and renewed on a
// start well before it expires.
const (
	inviteTTL   = 365 * 24 * time.Hour
	inviteRenew = 300 * 24 * time.Hour
	maxLinkFile = 4096
)

// joinLink makes the link that lets agents join, keeps it in the data directory
// and returns it. An open server's has no invite.
func (s *settings) joinLink(ctx context.Context, invites *peers.Invites, pin *ident.Pin) (string, error) {
	path := filepath.Join(s.Data, JoinLinkFile)
	kept, since := keptInvite(path)
	code := ""
	if !s.Open {
		var i peers.Invite
		var err error
		code, i, err = invites.CreateInvite(ctx, peers.InviteSpec{Code: kept, Label: "join link", TTL: inviteTTL})
		if err == nil && i.Revoked { // the link leaked, say: another is wanted
			kept = ""
			code, _, err = invites.CreateInvite(ctx, peers.InviteSpec{Label: "join link", TTL: inviteTTL})
		}
		if err != nil {
			return "", fmt.Errorf("invite of the join link: %w", err)
		}
	}
	link := s.joinWith(pin, code)
	err := writeFile(path, []byte(link+"\n"))
	if err == nil && kept != "" {
		err = os.Chtimes(path, since, since) // the file's age is the invite's
	}
	if err != nil {
		return "", fmt.Errorf("keep the join link: %w: choose another directory with --data, or let this user write there", err)
	}
	return link, nil
}

// joinWith is the link by which agents join with an invite, or without one.
func (s *settings) joinWith(pin *ident.Pin, code string) string {
	fragment := url.Values{}
	if pin != nil {
		fragment.Set("pin", pin.String())
	}
	if code != "" {
		fragment.Set("invite", code)
	}
	return s.link("/", fragment)
}

// link is an address of this server with parameters that only its reader sees.
func (s *settings) link(path string, fragment url.Values) string {
	link := "https://" + net.JoinHostPort(s.publicHost, s.publicPort) + path
	if len(fragment) > 0 {
		link += "#" + fragment.Encode()
	}
	return link
}

// keptInvite returns the invite of the link that is kept and since when, or ""
// if there is none or it is old.
func keptInvite(path string) (code string, since time.Time) {
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) > inviteRenew {
		return "", since
	}
	link, err := readLink(path)
	if err != nil {
		return "", since
	}
	return parameter(link, "invite"), info.ModTime()
}

// parameter is one of the parameters of a link, "" without it.
func parameter(link, name string) string {
	_, fragment, _ := strings.Cut(link, "#")
	values, err := url.ParseQuery(fragment)
	if err != nil {
		return ""
	}
	return values.Get(name)
}

func readLink(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read a link: %w", err)
	}
	if len(raw) > maxLinkFile {
		return "", fmt.Errorf("%s is no link", path)
	}
	return strings.TrimSpace(string(raw)), nil
}

// KeptJoinLink returns the join link in the data directory of a server that has
// been started before.
func KeptJoinLink(data string) (string, error) {
	link, err := readLink(filepath.Join(data, JoinLinkFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no join link in %s yet: start the server once", data)
	}
	return link, err
}

// writeFile replaces a file that only this user may read, wholly or not at all.
func writeFile(path string, content []byte) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, content, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
