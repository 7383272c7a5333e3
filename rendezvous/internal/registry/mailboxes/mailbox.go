// Package mailboxes holds pairing mailboxes.
//
// The owner opens a mailbox at a short address, which a person types at another
// peer. That peer makes a try:
//
//	peer   opening      ► owner
//	owner  answer       ► peer
//	peer   confirmation ► owner
//
// Each message may be sent again; the same message is not an error. A mailbox
// accepts a few tries and expires after minutes, which bounds the guesses at the
// PIN.
package mailboxes

import (
	"bytes"
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// Errors. Each says what is wrong; the user interfaces say what to do.
var (
	ErrNotFound = &registry.Error{Text: "no such mailbox", Code: api.CodeMailboxNotFound, Refusal: "no_mailbox"}
	ErrExists   = &registry.Error{Text: "the mailbox exists"}
	ErrExpired  = &registry.Error{Text: "the mailbox has expired", Code: api.CodeMailboxExpired}
	ErrClosed   = &registry.Error{Text: "the mailbox is closed", Code: api.CodeMailboxClosed}
	ErrBurned   = &registry.Error{
		Text: "the mailbox has had its tries", Code: api.CodeMailboxBurned,
		Refusal: "burned",
	}
	ErrOwn         = &registry.Error{Text: "the mailbox is the caller's own", Code: api.CodeMailboxOwn}
	ErrLimit       = &registry.Error{Text: "too many mailboxes open", Code: api.CodeMailboxLimit}
	ErrMessage     = &registry.Error{Text: "a message is 1 to 4096 bytes"}
	ErrTryNotFound = &registry.Error{Text: "no such try", Code: api.CodeTryNotFound}
	ErrTryState    = &registry.Error{Text: "the try is not at this step", Code: api.CodeTryState}
)

// Retention is the time that a mailbox is kept after it expired, so that a late
// peer learns that the mailbox expired and not that it never existed.
const Retention = api.MailboxTTL

// Store keeps mailboxes.
type Store interface {
	// CreateMailbox keeps a new mailbox. Errors: ErrExists, and ErrLimit if its
	// owner has limit.Open open mailboxes or limit.Kept in total.
	CreateMailbox(ctx context.Context, m Mailbox, limit Limit) error
	// Mailbox returns a mailbox. Errors: ErrNotFound.
	Mailbox(ctx context.Context, a ident.Address) (Mailbox, error)
	// AddTry adds a try by t.Peer at t.Made and returns its number, counted from
	// 1. The same opening by the same peer is the same try. Errors: ErrNotFound,
	// ErrExpired, ErrClosed, and ErrBurned beyond max tries.
	AddTry(ctx context.Context, a ident.Address, t Try, max int) (number int, err error)
	// Tries returns the tries of a mailbox in order.
	Tries(ctx context.Context, a ident.Address) ([]Try, error)
	// SetStep adds a message to a try that has the previous message, and writes
	// the event if it is not nil. The same message again is not an error and
	// writes no event. Errors: ErrTryNotFound, ErrTryState.
	SetStep(ctx context.Context, a ident.Address, m StepMessage, e *audit.Event) error
	// CloseMailbox closes a mailbox and deletes its messages. It is not an error
	// if the mailbox is closed already or does not exist.
	CloseMailbox(ctx context.Context, a ident.Address) error
}

// Mailbox is a pairing mailbox.
type Mailbox struct {
	Address ident.Address
	Owner   ident.PeerID
	Created time.Time
	Expires time.Time
	Closed  bool
}

// Usable returns nil if the mailbox accepts messages, and otherwise ErrClosed or
// ErrExpired.
func (m Mailbox) Usable(now time.Time) error {
	switch {
	case m.Closed:
		return ErrClosed
	case !now.Before(m.Expires):
		return ErrExpired
	}
	return nil
}

// Limit bounds the mailboxes of one owner.
type Limit struct {
	Open int // neither closed nor expired
	Kept int // in total, until Sweep removes them
}

// Try is one attempt to pair through a mailbox.
type Try struct {
	Number       int
	Peer         ident.PeerID
	Made         time.Time
	Opening      []byte
	Answer       []byte // nil until the owner has sent it
	Confirmation []byte // nil until the peer has sent it
}

// Accepts checks a message for the try. kept is true if the try has the message
// already. Errors: ErrTryState if the try has another message at this step, or
// the previous message is missing.
func (t Try) Accepts(m StepMessage) (kept bool, err error) {
	there := t.Answer
	if m.Step == StepConfirmation {
		if t.Answer == nil {
			return false, ErrTryState
		}
		there = t.Confirmation
	}
	if there != nil && !bytes.Equal(there, m.Body) {
		return false, ErrTryState
	}
	return there != nil, nil
}

// Step is a message of a try after its opening.
type Step int

// The steps, in order.
const (
	StepAnswer       Step = iota + 1 // by the owner
	StepConfirmation                 // by the peer that made the try
)

// StepMessage is a message for a try.
type StepMessage struct {
	Number int // of the try
	Step   Step
	Body   []byte
}
