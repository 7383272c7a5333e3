package pairing

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

const (
	// MaxTries is how many guesses an address stands, right or wrong.
	MaxTries = 3
	// Lifetime bounds how long an address can be used, whatever the rendezvous says.
	Lifetime = 10 * time.Minute

	// answerTime bounds a client's wait for the host's answer.
	answerTime = 20 * time.Second
	// confirmTime bounds the host's wait for the confirmation of a try.
	confirmTime = 20 * time.Second
	// pollPause separates two questions to a mailbox that answers at once.
	pollPause = 300 * time.Millisecond
	// awayPause is the same after the rendezvous could not be asked.
	awayPause = 3 * time.Second
)

// The reasons for which a pairing fails.
var (
	ErrUnknownAddress = errors.New("no such EasyFind address: compare it with what the other machine shows, or run \"easyfind pair\" there for a new one")
	ErrExpired        = errors.New("this EasyFind address has expired or has been used: run \"easyfind pair\" again for a new one")
	ErrBurned         = errors.New("too many wrong PINs, the EasyFind address is no longer valid: run \"easyfind pair\" again for a new one")
	ErrNoAnswer       = errors.New("the other machine does not answer: check that \"easyfind pair\" still waits there")
	ErrSelf           = errors.New("this EasyFind address is this machine's own: use it on the other one")
	// ErrWrongPIN is what a [WrongPINError] is.
	ErrWrongPIN = errors.New("wrong PIN")
)

// WrongPINError says that the PIN was wrong, or that somebody between the two
// ends changed a message: the two cannot be told apart.
type WrongPINError struct {
	Left int // tries that remain, as the host says
}

func (e WrongPINError) Error() string {
	switch e.Left {
	case 0:
		return "wrong PIN, and it was the last try: run \"easyfind pair\" on the other machine for a new address"
	case 1:
		return "wrong PIN: check it on the other machine; 1 try is left"
	}
	return fmt.Sprintf("wrong PIN: check it on the other machine; %d tries are left", e.Left)
}

// Is makes errors.Is(err, ErrWrongPIN) true.
func (e WrongPINError) Is(target error) bool { return target == ErrWrongPIN }

// Peer is the other end of a finished pairing: proved to hold its key by
// somebody who knew the PIN.
type Peer struct {
	ID        ident.PeerID
	PublicKey ed25519.PublicKey
	Name      string   // what it calls itself: 1 to MaxName printable bytes
	Addresses []string // where it can be reached directly, as it says: hints
}

// HostMailbox is what the host needs of the rendezvous.
type HostMailbox interface {
	// OpenMailbox opens a mailbox that only this peer may read.
	OpenMailbox(ctx context.Context) (api.Mailbox, error)
	// Tries returns the tries numbered above after, in order. It may wait a
	// while for one.
	Tries(ctx context.Context, a ident.Address, after int) ([]api.Try, error)
	// Answer answers a try.
	Answer(ctx context.Context, a ident.Address, try int, answer []byte) error
	// CloseMailbox ends it.
	CloseMailbox(ctx context.Context, a ident.Address) error
}

// ClientMailbox is what the client needs of the rendezvous.
type ClientMailbox interface {
	// Try begins a try.
	Try(ctx context.Context, a ident.Address, opening []byte) (api.Try, error)
	// Confirm ends it.
	Confirm(ctx context.Context, a ident.Address, try int, confirmation []byte) error
}

// Mailbox is what both need. Its methods may be called concurrently. No message
// is longer than MaxMessage. An error that is an *api.Problem is understood.
type Mailbox interface {
	HostMailbox
	ClientMailbox
	// Result returns a try as it is. It may wait a while for what the other end
	// is to add: the answer for the client, the confirmation for the host.
	Result(ctx context.Context, a ident.Address, try int) (api.Try, error)
}

// Config is what pairing needs.
type Config struct {
	Key       ident.Key
	Name      string          // what the other end will call this one
	Addresses func() []string // direct addresses to tell it, at most MaxAddresses; may be nil
	Mailbox   Mailbox
	Random    io.Reader // crypto/rand if nil
	Logger    *slog.Logger
}

// Pairing pairs this peer with others. Its methods may be called concurrently.
type Pairing struct {
	cfg Config
}

// New checks the configuration.
func New(cfg Config) (*Pairing, error) {
	if cfg.Mailbox == nil {
		return nil, errors.New("pairing: no mailbox")
	}
	if !ValidName(cfg.Name) {
		return nil, fmt.Errorf("pairing: %q cannot be a name: want 1 to %d bytes of printable text", cfg.Name, MaxName)
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pairing{cfg: cfg}, nil
}

// card is what this peer tells of itself.
func (p *Pairing) card() card {
	c := card{Name: p.cfg.Name}
	if p.cfg.Addresses != nil {
		c.Addresses = p.cfg.Addresses()
	}
	c.Addresses = c.Addresses[:min(len(c.Addresses), MaxAddresses)]
	return c
}

// reason turns the rendezvous' refusals into this package's errors, and leaves
// other errors as they are.
func reason(err error) error {
	var problem *api.Problem
	if !errors.As(err, &problem) {
		return err
	}
	switch problem.Code {
	case api.CodeMailboxNotFound, api.CodeTryNotFound:
		return ErrUnknownAddress
	case api.CodeMailboxExpired, api.CodeMailboxClosed:
		return ErrExpired
	case api.CodeMailboxBurned:
		return ErrBurned
	case api.CodeMailboxOwn:
		return ErrSelf
	}
	return err
}

// over reports whether err says that the mailbox takes nothing more.
func over(err error) bool {
	return errors.Is(err, ErrUnknownAddress) || errors.Is(err, ErrExpired) || errors.Is(err, ErrBurned)
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
