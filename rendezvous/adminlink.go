package rendezvous

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
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// AdminLinkFile is the file in the data directory that holds the one-time link
// for an administrator while it waits to be used; only the server's user may
// read it.
const AdminLinkFile = "admin-link"

// pathAdmin is the page of the administrators.
const pathAdmin = "/admin"

// keepAdminLink makes a one-time link for an administrator if nobody
// administers the server yet, and keeps it in the data directory. A link that
// was used or has expired is not kept.
func (s *settings) keepAdminLink(ctx context.Context, admin *administration.Service, pin *ident.Pin) error {
	path := filepath.Join(s.Data, AdminLinkFile)
	kept, err := readLink(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	code, err := admin.AdminLink(ctx, parameter(kept, "link"), false)
	if err != nil {
		return fmt.Errorf("admin link: %w", err)
	}
	if code == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the used admin link: %w", err)
		}
		return nil
	}
	fragment := url.Values{"link": {code}}
	if pin != nil {
		fragment.Set("pin", pin.String())
	}
	return keepLink(path, s.link(pathAdmin, fragment))
}

func keepLink(path, link string) error {
	if err := writeFile(path, []byte(link+"\n")); err != nil {
		return fmt.Errorf("keep the admin link: %w", err)
	}
	return nil
}

// NewAdminLink makes another one-time link for an administrator, in place of
// the one before, and keeps it in the data directory. The server has been
// started once and may be running; its address is that of the join link.
func NewAdminLink(ctx context.Context, c Config) (string, error) {
	s, err := c.check()
	if err != nil {
		return "", err
	}
	join, err := KeptJoinLink(s.Data)
	if err != nil {
		return "", err
	}
	db, err := database.OpenExisting(ctx, s.location())
	if err != nil {
		return "", err
	}
	defer db.Close()
	all, err := services.New(services.Config{Database: db})
	if err != nil {
		return "", err
	}
	code, err := all.Administration.AdminLink(ctx, "", true)
	if err != nil {
		return "", fmt.Errorf("admin link: %w", err)
	}
	fragment := url.Values{"link": {code}}
	if pin := parameter(join, "pin"); pin != "" {
		fragment.Set("pin", pin)
	}
	server, _, _ := strings.Cut(join, "#")
	link := strings.TrimSuffix(server, "/") + pathAdmin + "#" + fragment.Encode()
	return link, keepLink(filepath.Join(s.Data, AdminLinkFile), link)
}

// KeptAdminLink returns the one-time link for an administrator that is kept in
// the data directory, "" if there is none.
func KeptAdminLink(data string) string {
	link, err := readLink(filepath.Join(data, AdminLinkFile))
	if err != nil {
		return ""
	}
	return link
}
