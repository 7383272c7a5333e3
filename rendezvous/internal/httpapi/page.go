package httpapi

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// PageQuery selects one page of a list.
type PageQuery struct {
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"the largest number of items"`
	After string `query:"after" maxLength:"64" doc:"the field next of the previous page"`
}

// page selects a page of a list that is ordered by creation time. It includes one
// item more than the limit, so that the caller sees whether there is a next page.
func (in PageQuery) page() (registry.Page, error) {
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

var errCursor = invalid("query.after", "not the field next of a page: leave the parameter out to begin")

// cut returns the first limit items, and the cursor of the next page if there are
// more items.
func cut[T any](items []T, limit int, place func(T) string) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	return items[:limit], place(items[limit-1])
}

// cursor encodes a place in a list that is ordered by creation time.
func cursor(c registry.Cursor) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(c.At.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(raw, c.ID[:]...))
}

// shortIDInput is a token or an invite in the URL path.
type shortIDInput struct {
	ID string `path:"id" maxLength:"16" doc:"16 hexadecimal digits" example:"9f0c2b7d41aa35e6"`
}

func (in shortIDInput) id() (id [8]byte, err error) {
	if raw, err := hex.DecodeString(in.ID); err == nil && len(raw) == len(id) {
		return [8]byte(raw), nil
	}
	return id, invalid("path.id", "not an ID: 16 hexadecimal digits")
}
