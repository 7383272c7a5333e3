package pairing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/pairing/cpace"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Offer is an EasyFind address that a client can pair with. It has a mailbox at
// the rendezvous until Wait returns.
type Offer struct {
	Address ident.Address
	PIN     ident.PIN
	Expires time.Time

	pairing *Pairing

	// Owned by Wait.
	tries       map[int]*hostTry // by number, from 1
	failures    int              // number of tries that have failed
	reportTries func(left int)   // see Wait; may be nil
}

// hostTry is the host's state of a try.
type hostTry struct {
	sessionKey *cpace.Key    // nil if the opening was malformed: then nothing confirms the try
	theirs     cpace.Message // of the client
	theirKey   []byte        // the client's public key
}

// Offer opens a mailbox and draws a PIN. The caller must call Wait, which closes
// the mailbox.
func (p *Pairing) Offer(ctx context.Context) (*Offer, error) {
	pin, err := ident.NewPIN(p.cfg.Random)
	if err != nil {
		return nil, err
	}
	box, err := p.cfg.HostMailbox.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("new EasyFind address: %w", err)
	}
	if latest := time.Now().Add(Lifetime); box.Expires.IsZero() || box.Expires.After(latest) {
		box.Expires = latest
	}
	return &Offer{
		Address: box.Address, PIN: pin, Expires: box.Expires, pairing: p, tries: map[int]*hostTry{},
	}, nil
}

// event is a change in the mailbox: a new try, or the end of the wait for a
// confirmation, or an error that makes the mailbox unusable.
type event struct {
	opened       *api.Try
	confirmed    int    // number of the try whose confirmation has come or is overdue
	confirmation []byte // of that try; nil if it is overdue
	err          error
}

// Wait answers tries until one succeeds, MaxTries have failed (ErrBurned), the
// address expires (ErrExpired) or ctx ends. It may be called only once. It closes
// the mailbox. After each failed try it calls failed, which may be nil, with the
// number of remaining tries.
func (o *Offer) Wait(ctx context.Context, failed func(left int)) (Peer, error) {
	o.reportTries = failed
	defer o.close(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	ctx, cancel := context.WithDeadlineCause(ctx, o.Expires, ErrExpired)
	defer cancel()

	events := make(chan event)
	watchers.Go(func() { o.watchTries(ctx, events) })
	for {
		var e event
		select {
		case <-ctx.Done():
			return Peer{}, context.Cause(ctx)
		case e = <-events:
		}
		switch {
		case e.err != nil:
			return Peer{}, e.err
		case e.opened != nil:
			answered, err := o.answer(ctx, *e.opened)
			if err != nil {
				return Peer{}, err
			}
			if answered {
				watchers.Go(func() { o.watchConfirmation(ctx, e.opened.Number, events) })
			}
		default:
			got, err := o.confirm(e)
			if err == nil {
				return got, nil
			}
			o.fail(err)
		}
		if o.failures == MaxTries {
			return Peer{}, ErrBurned
		}
	}
}

// close closes the mailbox, also if ctx has ended: otherwise guessers could use it
// until it expires.
func (o *Offer) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := reason(o.pairing.cfg.HostMailbox.Close(ctx, o.Address)); err != nil && !isFinal(err) {
		o.pairing.cfg.Logger.Warn("cannot close the pairing mailbox; it expires by itself", "err", err)
	}
}

// watchTries sends an event for each new try. It sends at most MaxTries, also if a
// hostile rendezvous delivers more.
func (o *Offer) watchTries(ctx context.Context, events chan<- event) {
	for number := 0; number < MaxTries; {
		tries, err := o.pairing.cfg.HostMailbox.Tries(ctx, o.Address, number)
		if err = reason(err); isFinal(err) {
			send(ctx, events, event{err: err})
			return
		}
		delay := o.retryDelay(ctx, err)
		for _, t := range tries {
			if t.Number == number+1 && number < MaxTries {
				number++
				send(ctx, events, event{opened: &t})
			}
		}
		if sleep(ctx, delay) != nil {
			return
		}
	}
}

// watchConfirmation sends an event when the confirmation of a try comes, or after
// confirmTimeout.
func (o *Offer) watchConfirmation(ctx context.Context, number int, events chan<- event) {
	bounded, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	for {
		t, err := o.pairing.cfg.HostMailbox.Result(bounded, o.Address, number)
		if err == nil && t.Confirmation != nil {
			send(ctx, events, event{confirmed: number, confirmation: t.Confirmation})
			return
		}
		if sleep(bounded, o.retryDelay(bounded, err)) != nil {
			send(ctx, events, event{confirmed: number})
			return
		}
	}
}

// retryDelay returns the time until the next call after a call that returned err.
// After an error the host keeps trying until the address expires.
func (o *Offer) retryDelay(ctx context.Context, err error) time.Duration {
	if err == nil || ctx.Err() != nil {
		return pollInterval
	}
	o.pairing.cfg.Logger.Warn("cannot reach the pairing mailbox", "err", err, "retry_in", retryInterval)
	return retryInterval
}

// send sends an event unless ctx ends first.
func send(ctx context.Context, events chan<- event, e event) {
	select {
	case events <- e:
	case <-ctx.Done():
	}
}

// fail counts a failed try and reports it.
func (o *Offer) fail(err error) {
	o.failures++
	o.pairing.cfg.Logger.Warn("a pairing try failed", "err", err)
	if o.reportTries != nil {
		o.reportTries(MaxTries - len(o.tries))
	}
}

// answer counts the try and then answers it, so that the try is counted whatever
// happens. It reports whether the answer was sent. An error ends the offer.
func (o *Offer) answer(ctx context.Context, t api.Try) (bool, error) {
	try := &hostTry{}
	o.tries[t.Number] = try
	raw, err := o.respond(try, t.Opening)
	if errors.Is(err, errMessage) || errors.Is(err, cpace.ErrShare) {
		o.fail(err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := o.pairing.cfg.HostMailbox.Answer(ctx, o.Address, t.Number, raw); err != nil {
		o.fail(fmt.Errorf("answer: %w", err))
		return false, nil
	}
	return true, nil
}

// respond runs the responder's part of CPace for the opening in raw, stores the
// result in try and returns the encoded answer.
func (o *Offer) respond(try *hostTry, raw []byte) ([]byte, error) {
	first, err := decode[openingMessage](raw)
	if err != nil {
		return nil, err
	}
	key := o.pairing.cfg.Key.Public()
	run, err := start(o.pairing.cfg.Random, o.Address, o.PIN)
	if err != nil {
		return nil, err
	}
	own := associatedData(roleHost, key)
	theirs := cpace.Message{Share: first.Share, Data: associatedData(roleClient, first.Key)}
	sessionKey, err := run.Respond(theirs, own)
	if err != nil {
		return nil, err
	}
	sealed, err := seal(sessionKey, roleHost, o.pairing.card())
	if err != nil {
		return nil, err
	}
	try.sessionKey, try.theirs, try.theirKey = &sessionKey, theirs, first.Key
	return encode(answerMessage{
		Share: run.Share(), Key: key, Card: sealed, Left: MaxTries - len(o.tries),
		Tag: sessionKey.Tag(cpace.Message{Share: run.Share(), Data: own}),
	})
}

// confirm returns the client if the confirmation in e authenticates it.
func (o *Offer) confirm(e event) (Peer, error) {
	t := o.tries[e.confirmed]
	if e.confirmation == nil {
		return Peer{}, ErrNoAnswer
	}
	c, err := decode[confirmationMessage](e.confirmation)
	if err != nil {
		return Peer{}, err
	}
	if t.sessionKey == nil || !t.sessionKey.Confirms(c.Tag, t.theirs) {
		return Peer{}, ErrWrongPIN
	}
	theirs, err := open(*t.sessionKey, roleClient, c.Card)
	if err != nil {
		return Peer{}, err
	}
	got := newPeer(t.theirKey, theirs)
	if got.ID == o.pairing.cfg.Key.ID() {
		return Peer{}, ErrSelf
	}
	return got, nil
}
