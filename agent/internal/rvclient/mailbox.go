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

// OpenMailbox opens a pairing mailbox, which this peer owns.
func (c *Client) OpenMailbox(ctx context.Context) (api.Mailbox, error) {
	var m api.Mailbox
	err := c.rest.do(ctx, call{method: http.MethodPost, path: api.PathMailboxes, out: &m})
	if err == nil {
		m.Address, err = ident.ParseAddress(string(m.Address))
	}
	return m, err
}

// CloseMailbox closes a mailbox of this peer. Closing twice is fine.
func (c *Client) CloseMailbox(ctx context.Context, address ident.Address) error {
	return c.rest.do(ctx, call{method: http.MethodDelete, path: api.MailboxPath(address)})
}

// Tries returns the tries with a number above after. It waits up to 25 s for
// one; none by then is no error.
func (c *Client) Tries(ctx context.Context, address ident.Address, after int) ([]api.Try, error) {
	var list api.Tries
	query := waiting()
	query.Set("after", strconv.Itoa(after))
	err := c.rest.do(ctx, call{
		method: http.MethodGet, path: api.TriesPath(address) + "?" + query.Encode(), out: &list, wait: api.MaxWait,
	})
	return list.Tries, err
}

// Try makes a try at another peer's mailbox with the first message of the
// pairing, at most api.MaxMessage bytes.
func (c *Client) Try(ctx context.Context, address ident.Address, opening []byte) (api.Try, error) {
	var t api.Try
	err := c.rest.do(ctx, call{
		method: http.MethodPost, path: api.TriesPath(address), in: api.Message{Body: opening}, out: &t,
	})
	return t, err
}

// Result returns a try of this peer, or of its mailbox. It waits up to 25 s
// for the other side's next message; none by then is no error.
func (c *Client) Result(ctx context.Context, address ident.Address, number int) (api.Try, error) {
	var t api.Try
	err := c.rest.do(ctx, call{
		method: http.MethodGet, path: api.TryPath(address, number) + "?" + waiting().Encode(), out: &t, wait: api.MaxWait,
	})
	return t, err
}

// Answer is the mailbox owner's message to a try.
func (c *Client) Answer(ctx context.Context, address ident.Address, number int, answer []byte) error {
	return c.rest.do(ctx, call{
		method: http.MethodPut, path: api.AnswerPath(address, number), in: api.Message{Body: answer},
	})
}

// Confirm is the last message of a try, from the peer that made it.
func (c *Client) Confirm(ctx context.Context, address ident.Address, number int, confirmation []byte) error {
	return c.rest.do(ctx, call{
		method: http.MethodPut, path: api.ConfirmationPath(address, number), in: api.Message{Body: confirmation},
	})
}

// waiting is the query of a call that waits for an event.
func waiting() url.Values {
	return url.Values{"wait": {strconv.Itoa(int(api.MaxWait / time.Second))}}
}
