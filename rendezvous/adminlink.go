package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// AdminLinkFile is the file in the data directory that holds the one-time link
// for an administrator while it waits to be used; only the server's user may
// read it.
const AdminLinkFile = "admin-link"

// pathAdmin is the page of the administrators.
const pathAdmin = "/admin"

// keepAdminLink makes a one-time link for an administrator if nobody
// administers the server yet, or if it was asked for, and keeps it in the data
// directory. A link that was used or has expired is not kept.
func (s *settings) keepAdminLink(ctx context.Context, r *registry.Registry, pin *ident.Pin) error {
	path := filepath.Join(s.Data, AdminLinkFile)
	kept, err := readLink(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	code, err := r.AdminLink(ctx, parameter(kept, "link"), s.NewAdminLink)
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
	if err := writeFile(path, []byte(s.link(pathAdmin, fragment)+"\n")); err != nil {
		return fmt.Errorf("keep the admin link: %w", err)
	}
	return nil
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
