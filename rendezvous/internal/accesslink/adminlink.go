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

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/datadir"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
)

// AdminFile is the name of the file in the data directory with the admin link, as long
// as that was not used. Only the server's user may read it.
const AdminFile = "admin-link"

// AdminPath is the path of the admin page.
const AdminPath = "/admin"

// Admin creates and stores a one-time link for an administrator if the server has no
// administrator yet. It removes a stored link that was used or has expired.
func (l Links) Admin(ctx context.Context, admin *administration.Service) error {
	path := filepath.Join(l.Dir, AdminFile)
	stored, err := read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	code, err := admin.AdminLink(ctx, Parameter(stored, "link"), false)
	if err != nil {
		return fmt.Errorf("admin link: %w", err)
	}
	if code == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the used admin link: %w", err)
		}
		return nil
	}
	return store(path, l.link(AdminPath, url.Values{"link": {code}}))
}

// NewAdmin creates another one-time link for an administrator, which replaces the
// previous one, and stores it. The server must have been started once and may be
// running. The link has the address and the pin of the join link.
func NewAdmin(ctx context.Context, dir string, admin *administration.Service) (string, error) {
	join, err := StoredJoin(dir)
	if err != nil {
		return "", err
	}
	code, err := admin.AdminLink(ctx, "", true)
	if err != nil {
		return "", fmt.Errorf("admin link: %w", err)
	}
	server, _, _ := strings.Cut(join, "#")
	l := Links{Dir: dir, Origin: strings.TrimSuffix(server, "/")}
	if text := Parameter(join, "pin"); text != "" {
		pin, err := ident.ParsePin(text)
		if err != nil {
			return "", fmt.Errorf("join link: %w", err)
		}
		l.Pin = &pin
	}
	link := l.link(AdminPath, url.Values{"link": {code}})
	return link, store(filepath.Join(dir, AdminFile), link)
}

// store writes the file of an admin link.
func store(path, link string) error {
	if err := datadir.WriteFile(path, []byte(link+"\n")); err != nil {
		return fmt.Errorf("store the admin link: %w", err)
	}
	return nil
}

// StoredAdmin returns the admin link in a data directory, or "".
func StoredAdmin(dir string) string {
	link, err := read(filepath.Join(dir, AdminFile))
	if err != nil {
		return ""
	}
	return link
}
