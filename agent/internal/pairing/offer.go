package pairing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/pairing/cpace"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Offer is an address that waits for the other end. It holds a mailbox at the
// rendezvous until Wait returns.
type Offer struct {
	Address ident.Address
	PIN     ident.PIN
	Expires time.Time

	pairing *Pairing
	// Owned by Wait.
	tries  map[string]*hostTry
	failed func(left int)
}

// hostTry is a try as the host remembers it.
type hostTry struct {
	answered time.Time
	settled  bool // confirmed, wrongly or rightly, or given up by the client
	// What the confirmation must match. Without a session the opening was
	// malformed, and nothing matches.
	session  *cpace.Key
	theirs   cpace.Message
	theirKey []byte
}

// Offer opens a mailbox and draws a PIN. The caller must call Wait.
func (p *Pairing) Offer(ctx context.Context) (*Offer, error) {
	pin, err := ident.NewPIN(p.cfg.Random)
	if err != nil {
		return nil, err
	}
	address, expires, err := p.cfg.Mailbox.OpenMailbox(ctx)
	if err != nil {
		return nil, fmt.Errorf("EasyFind address: %w", err)
	}
	if latest := time.Now().Add(Lifetime); expires.IsZero() || expires.After(latest) {
		expires = latest
	}
	return &Offer{Address: address, PIN: pin, Expires: expires, pairing: p, tries: map[string]*hostTry{}}, nil
}

// Wait answers tries until one succeeds, the address is burned (ErrBurned) or
// expires (ErrExpired), or ctx ends. It is called once, and closes the mailbox.
// failed, which may be nil, is called for every try that has failed, with the
// number of those that are left.
func (o *Offer) Wait(ctx context.Context, failed func(left int)) (Peer, error) {
	defer o.close(ctx)
	ctx, cancel := context.WithDeadlineCause(ctx, o.Expires, ErrExpired)
	defer cancel()
	o.failed = failed
	for {
		tries, err := o.pairing.cfg.Mailbox.Tries(ctx, o.Address)
		switch {
		case ctx.Err() != nil:
			return Peer{}, context.Cause(ctx)
		case errors.Is(err, ErrUnknownAddress) || errors.Is(err, ErrExpired) || errors.Is(err, ErrBurned):
			return Peer{}, err
		case err != nil:
			// The rendezvous may be away for a moment; the deadline ends it.
			o.pairing.cfg.Logger.Warn("pairing mailbox cannot be read, trying again", "error", err)
		}
		got, ok, err := o.look(ctx, tries)
		if err != nil || ok {
			return got, err
		}
		if o.burned() {
			return Peer{}, ErrBurned
		}
		if err := sleep(ctx, pollPause); err != nil {
			return Peer{}, err
		}
	}
}

// close does not end with the caller's context: a mailbox left behind could be
// tried for minutes.
func (o *Offer) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := o.pairing.cfg.Mailbox.CloseMailbox(ctx, o.Address); err != nil {
		o.pairing.cfg.Logger.Warn("pairing mailbox could not be closed; it expires by itself", "error", err)
	}
}

// look answers what is new and checks what has been confirmed.
func (o *Offer) look(ctx context.Context, tries []Try) (Peer, bool, error) {
	for _, t := range tries {
		known := o.tries[t.ID]
		if known == nil {
			if len(o.tries) == MaxTries {
				continue // the rendezvous should have refused it; never answered
			}
			if err := o.answer(ctx, t); err != nil {
				return Peer{}, false, err
			}
			continue
		}
		if known.settled || t.Confirmation == nil {
			continue
		}
		got, err := known.confirm(t.Confirmation)
		if err == nil && got.ID == o.pairing.cfg.Key.ID() {
			err = ErrSelf
		}
		if err == nil {
			return got, true, nil
		}
		o.settle(known, err)
	}
	return Peer{}, false, nil
}

// settle ends a try that has failed.
func (o *Offer) settle(t *hostTry, reason error) {
	t.settled = true
	o.pairing.cfg.Logger.Warn("pairing try failed", "error", reason)
	if o.failed != nil {
		o.failed(MaxTries - len(o.tries))
	}
}

// burned reports whether nothing more can come of the address: all tries are
// used, and each has failed or had its time.
func (o *Offer) burned() bool {
	for _, t := range o.tries {
		if !t.settled && time.Since(t.answered) < confirmTime {
			return false
		}
	}
	return len(o.tries) == MaxTries
}

// answer counts the try and only then answers it. Whatever goes wrong, the try
// stays counted.
func (o *Offer) answer(ctx context.Context, t Try) error {
	known := &hostTry{answered: time.Now()}
	o.tries[t.ID] = known
	raw, err := o.compute(known, t.Opening)
	if errors.Is(err, errMessage) || errors.Is(err, cpace.ErrShare) {
		o.settle(known, err)
		return nil
	}
	if err != nil {
		return err
	}
	if err := o.pairing.cfg.Mailbox.Answer(ctx, o.Address, t.ID, raw); err != nil && ctx.Err() == nil {
		o.pairing.cfg.Logger.Warn("pairing try could not be answered", "error", err)
	}
	return nil
}

// compute runs the responder's part and returns the answer.
func (o *Offer) compute(known *hostTry, raw []byte) ([]byte, error) {
	first, err := decode[opening](raw)
	if err != nil {
		return nil, err
	}
	key := o.pairing.cfg.Key.Public()
	run, err := start(o.pairing.cfg.Random, o.Address, o.PIN)
	if err != nil {
		return nil, err
	}
	own := data(roleHost, key)
	theirs := cpace.Message{Share: first.Share, Data: data(roleClient, first.Key)}
	session, err := run.Respond(theirs, own)
	if err != nil {
		return nil, err
	}
	sealed, err := seal(session, roleHost, o.pairing.card())
	if err != nil {
		return nil, err
	}
	known.session, known.theirs, known.theirKey = &session, theirs, first.Key
	return encode(answer{
		Share: run.Share(), Key: key, Card: sealed, Left: MaxTries - len(o.tries),
		Tag: session.Tag(cpace.Message{Share: run.Share(), Data: own}),
	})
}

// confirm returns the proved client.
func (t *hostTry) confirm(raw []byte) (Peer, error) {
	c, err := decode[confirmation](raw)
	if err != nil {
		return Peer{}, err
	}
	if t.session == nil || !t.session.Confirms(c.Tag, t.theirs) {
		return Peer{}, ErrWrongPIN
	}
	got, err := open(*t.session, roleClient, c.Card)
	if err != nil {
		return Peer{}, err
	}
	return peer(t.theirKey, got), nil
}
