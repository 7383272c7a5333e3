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
	// MaxTries is the number of tries that an address permits, right or wrong.
	MaxTries = 3
	// Lifetime is the longest time for which an address is valid. It ends earlier
	// if the rendezvous says so.
	Lifetime = 10 * time.Minute

	// answerTimeout bounds the client's wait for the host's answer.
	answerTimeout = 20 * time.Second
	// confirmTimeout bounds the host's wait for the confirmation of a try.
	confirmTimeout = 20 * time.Second
	// pollInterval is the time between two calls for a mailbox. Most calls wait at
	// the rendezvous for an event. The interval bounds the rate of those that do not.
	pollInterval = 300 * time.Millisecond
	// retryInterval is the time between two calls after a failed one.
	retryInterval = 3 * time.Second
)

// Reasons why a pairing fails.
var (
	ErrUnknownAddress = errors.New("no such EasyFind address: compare it with the one that the other machine shows, " +
		"or run \"easyfind pair\" there for a new one")
	ErrExpired = errors.New("this EasyFind address has expired or has been used: " +
		"run \"easyfind pair\" again for a new one")
	ErrBurned = errors.New("too many wrong PINs, the EasyFind address is no longer valid: " +
		"run \"easyfind pair\" again for a new one")
	ErrNoAnswer = errors.New("the other machine does not answer: check that \"easyfind pair\" still waits there")
	ErrSelf     = errors.New("this EasyFind address belongs to this machine: use it on the other one")
	// ErrWrongPIN matches every [WrongPINError].
	ErrWrongPIN = errors.New("wrong PIN")
)

// WrongPINError is returned if the PIN was wrong, or if an attacker changed a
// message. The two cases cannot be distinguished.
type WrongPINError struct {
	Left int // number of remaining tries according to the host
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

// Peer is the other peer of a successful pairing. It has proved that it knew the
// PIN; its public key is authenticated by that.
type Peer struct {
	ID        ident.PeerID
	PublicKey ed25519.PublicKey
	Name      string   // chosen by the peer: 1 to MaxName bytes, printable
	Addresses []string // direct addresses according to the peer; they may not work
}

// HostMailbox makes the host's calls to the rendezvous. Methods may be called
// concurrently. No message has more than MaxMessage bytes. If an error wraps an
// *api.Problem, its code decides how the pairing continues.
type HostMailbox interface {
	// Open opens a mailbox that only this peer may read.
	Open(ctx context.Context) (api.Mailbox, error)
	// Tries returns the tries whose number is above after, in order. It may
	// wait until there is one.
	Tries(ctx context.Context, a ident.Address, after int) ([]api.Try, error)
	// Answer adds the host's answer to a try.
	Answer(ctx context.Context, a ident.Address, try int, answer []byte) error
	// Result returns a try. It may wait for the client's confirmation.
	Result(ctx context.Context, a ident.Address, try int) (api.Try, error)
	// Close closes the mailbox.
	Close(ctx context.Context, a ident.Address) error
}

// ClientMailbox makes the client's calls to the rendezvous. See [HostMailbox].
type ClientMailbox interface {
	// Try starts a try with the client's opening.
	Try(ctx context.Context, a ident.Address, opening []byte) (api.Try, error)
	// Result returns a try. It may wait for the host's answer.
	Result(ctx context.Context, a ident.Address, try int) (api.Try, error)
	// Confirm adds the client's confirmation to a try.
	Confirm(ctx context.Context, a ident.Address, try int, confirmation []byte) error
}

// Config holds the parameters of New.
type Config struct {
	Key           ident.Key
	Name          string          // the name that the other peer sees, see ValidName
	Addresses     func() []string // direct addresses of this peer, at most MaxAddresses; may be nil
	HostMailbox   HostMailbox
	ClientMailbox ClientMailbox
	Random        io.Reader    // default crypto/rand
	Logger        *slog.Logger // may be nil
}

// Pairing pairs this peer with others. Methods may be called concurrently.
type Pairing struct {
	cfg Config
}

// New returns a Pairing. It fails if a mailbox is missing or the name is not valid.
func New(cfg Config) (*Pairing, error) {
	if cfg.HostMailbox == nil || cfg.ClientMailbox == nil {
		return nil, errors.New("pairing: the mailboxes are required")
	}
	if !ValidName(cfg.Name) {
		return nil, fmt.Errorf("pairing: invalid name %q: want 1 to %d printable bytes", cfg.Name, MaxName)
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pairing{cfg: cfg}, nil
}

// card returns the card of this peer.
func (p *Pairing) card() card {
	c := card{Name: p.cfg.Name}
	if p.cfg.Addresses != nil {
		c.Addresses = p.cfg.Addresses()
	}
	c.Addresses = c.Addresses[:min(len(c.Addresses), MaxAddresses)]
	return c
}

// reason converts problems of the rendezvous to errors of this package. It returns
// other errors unchanged.
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

// isFinal reports whether err means that the mailbox cannot be used any more.
func isFinal(err error) bool {
	return errors.Is(err, ErrUnknownAddress) || errors.Is(err, ErrExpired) || errors.Is(err, ErrBurned)
}

// sleep waits until d has passed or ctx ends. If ctx ends first, it returns the
// cause.
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
