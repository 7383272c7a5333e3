package rvclient

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Mailboxes makes the REST calls for pairing. Methods may be called concurrently.
// Errors wrap an *api.Problem if the rendezvous refuses a call.
type Mailboxes struct{ rest *rest }

// Mailboxes returns the calls for pairing.
func (c *Client) Mailboxes() *Mailboxes { return &Mailboxes{c.rest} }

// Open opens a mailbox, which this peer owns.
func (m *Mailboxes) Open(ctx context.Context) (api.Mailbox, error) {
	var box api.Mailbox
	err := m.rest.do(ctx, call{method: http.MethodPost, path: api.PathMailboxes, out: &box})
	if err == nil {
		box.Address, err = ident.ParseAddress(string(box.Address))
	}
	return box, err
}

// Close closes a mailbox of this peer. Closing it twice is not an error.
func (m *Mailboxes) Close(ctx context.Context, address ident.Address) error {
	return m.rest.do(ctx, call{method: http.MethodDelete, path: api.MailboxPath(address)})
}

// Tries returns the tries whose number is above after. It waits up to
// api.MaxWait (25 s) for one, and returns none without an error after that.
func (m *Mailboxes) Tries(ctx context.Context, address ident.Address, after int) ([]api.Try, error) {
	var list api.Tries
	query := waitQuery()
	query.Set("after", strconv.Itoa(after))
	err := m.rest.do(ctx, call{
		method: http.MethodGet, path: api.TriesPath(address) + "?" + query.Encode(), out: &list, wait: api.MaxWait,
	})
	return list.Tries, err
}

// Try starts a try at another peer's mailbox. opening is the first message of
// the pairing, at most api.MaxMessage bytes.
func (m *Mailboxes) Try(ctx context.Context, address ident.Address, opening []byte) (api.Try, error) {
	var t api.Try
	err := m.rest.do(ctx, call{
		method: http.MethodPost, path: api.TriesPath(address), in: api.Message{Body: opening}, out: &t,
	})
	return t, err
}

// Result returns a try that this peer made, or that was made at its mailbox. It
// waits up to api.MaxWait (25 s) for the next message of the other peer, and
// returns the try without it after that.
func (m *Mailboxes) Result(ctx context.Context, address ident.Address, number int) (api.Try, error) {
	var t api.Try
	path := api.TryPath(address, number) + "?" + waitQuery().Encode()
	err := m.rest.do(ctx, call{method: http.MethodGet, path: path, out: &t, wait: api.MaxWait})
	return t, err
}

// Answer adds the message of the mailbox's owner to a try.
func (m *Mailboxes) Answer(ctx context.Context, address ident.Address, number int, answer []byte) error {
	return m.rest.do(ctx, call{
		method: http.MethodPut, path: api.AnswerPath(address, number), in: api.Message{Body: answer},
	})
}

// Confirm adds the last message to a try, from the peer that made it.
func (m *Mailboxes) Confirm(ctx context.Context, address ident.Address, number int, confirmation []byte) error {
	return m.rest.do(ctx, call{
		method: http.MethodPut, path: api.ConfirmationPath(address, number), in: api.Message{Body: confirmation},
	})
}

// waitQuery returns the query parameters of a call that waits for an event.
func waitQuery() url.Values {
	return url.Values{"wait": {strconv.Itoa(int(api.MaxWait / time.Second))}}
}
