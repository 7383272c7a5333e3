package httpapi

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Paging asks for a part of a list.
type Paging struct {
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"items at most"`
	After string `query:"after" maxLength:"64" doc:"next of the page before"`
}

// page is the part asked for of a list that is ordered by when its items were
// made. It asks for one item more, which tells whether there is a next page.
func (in Paging) page() (registry.Page, error) {
	p := registry.Page{Limit: in.Limit + 1}
	if in.After == "" {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(in.After)
	if err != nil || len(raw) != 8+len(p.After.ID) {
		return p, errCursor
	}
	p.After.At = time.UnixMilli(int64(binary.BigEndian.Uint64(raw)))
	copy(p.After.ID[:], raw[8:])
	return p, nil
}

var errCursor = invalid("query.after", "not next of a page: begin without it")

// cut makes a page of at most limit of the items, and tells where the next one
// begins, if there is one.
func cut[T any](items []T, limit int, place func(T) string) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	return items[:limit], place(items[limit-1])
}

func cursor(c registry.Cursor) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(c.At.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(raw, c.ID[:]...))
}

// inShortID is a token or an invite in the path.
type inShortID struct {
	ID string `path:"id" maxLength:"16" doc:"16 hexadecimal digits" example:"9f0c2b7d41aa35e6"`
}

func (in inShortID) id() (id [8]byte, err error) {
	if raw, err := hex.DecodeString(in.ID); err == nil && len(raw) == len(id) {
		return [8]byte(raw), nil
	}
	return id, invalid("path.id", "not an ID: 16 hexadecimal digits")
}
