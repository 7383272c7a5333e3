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

// Try is one attempt to pair through a mailbox.
type Try struct {
	Number       int
	Peer         ident.PeerID // who made it, as the rendezvous says
	Opening      []byte
	Answer       []byte // nil until the owner has answered
	Confirmation []byte // nil until the other peer has confirmed
}

func tryOf(t api.Try) Try {
	return Try{Number: t.Number, Peer: t.Peer, Opening: t.Opening, Answer: t.Answer, Confirmation: t.Confirmation}
}

// OpenMailbox opens a pairing mailbox, which this peer owns.
func (c *Client) OpenMailbox(ctx context.Context) (address ident.Address, expires time.Time, err error) {
	var m api.Mailbox
	if err := c.rest.do(ctx, call{method: http.MethodPost, path: api.PathMailboxes, out: &m}); err != nil {
		return "", time.Time{}, err
	}
	if address, err = ident.ParseAddress(string(m.Address)); err != nil {
		return "", time.Time{}, err
	}
	return address, m.Expires, nil
}

// CloseMailbox closes a mailbox of this peer. Closing twice is fine.
func (c *Client) CloseMailbox(ctx context.Context, address ident.Address) error {
	return c.rest.do(ctx, call{method: http.MethodDelete, path: api.MailboxPath(address)})
}

// Tries returns the tries with a number above after. It waits up to 25 s for
// one; none by then is no error.
func (c *Client) Tries(ctx context.Context, address ident.Address, after int) ([]Try, error) {
	var list api.Tries
	query := waiting()
	query.Set("after", strconv.Itoa(after))
	err := c.rest.do(ctx, call{
		method: http.MethodGet, path: api.TriesPath(address) + "?" + query.Encode(), out: &list, wait: api.MaxWait,
	})
	if err != nil {
		return nil, err
	}
	tries := make([]Try, len(list.Tries))
	for i, t := range list.Tries {
		tries[i] = tryOf(t)
	}
	return tries, nil
}

// Try makes a try at another peer's mailbox with the first message of the
// pairing, at most api.MaxMessage bytes.
func (c *Client) Try(ctx context.Context, address ident.Address, opening []byte) (Try, error) {
	var t api.Try
	err := c.rest.do(ctx, call{
		method: http.MethodPost, path: api.TriesPath(address), in: api.Message{Body: opening}, out: &t,
	})
	return tryOf(t), err
}

// TryState returns a try of this peer, or of its mailbox. It waits up to 25 s
// for the other side's next message; none by then is no error.
func (c *Client) TryState(ctx context.Context, address ident.Address, number int) (Try, error) {
	var t api.Try
	err := c.rest.do(ctx, call{
		method: http.MethodGet, path: api.TryPath(address, number) + "?" + waiting().Encode(), out: &t, wait: api.MaxWait,
	})
	return tryOf(t), err
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
