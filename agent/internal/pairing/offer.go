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

// Offer is an address that waits for the other end. It holds a mailbox at the
// rendezvous until Wait returns.
type Offer struct {
	Address ident.Address
	PIN     ident.PIN
	Expires time.Time

	pairing *Pairing

	// Owned by Wait.
	tries   map[int]*hostTry // by number
	settled int              // how many of them have failed
	failed  func(left int)
}

// hostTry is a try as the host remembers it. Without a session its opening was
// malformed, and nothing confirms it.
type hostTry struct {
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
	box, err := p.cfg.Mailbox.OpenMailbox(ctx)
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

// news is what a watcher of the mailbox has seen.
type news struct {
	opened       *api.Try
	confirmed    int // the number of a try whose confirmation has come or is overdue
	confirmation []byte
	err          error
}

// Wait answers tries until one succeeds, the address is burned (ErrBurned) or
// expires (ErrExpired), or ctx ends. It is called once, and closes the mailbox.
// failed, which may be nil, is called for every try that has failed, with the
// number of those that are left.
func (o *Offer) Wait(ctx context.Context, failed func(left int)) (Peer, error) {
	o.failed = failed
	defer o.close(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	ctx, cancel := context.WithDeadlineCause(ctx, o.Expires, ErrExpired)
	defer cancel()

	seen := make(chan news)
	watchers.Go(func() { o.watchTries(ctx, seen) })
	for {
		var n news
		select {
		case <-ctx.Done():
			return Peer{}, context.Cause(ctx)
		case n = <-seen:
		}
		switch {
		case n.err != nil:
			return Peer{}, n.err
		case n.opened != nil:
			answered, err := o.answer(ctx, *n.opened)
			if err != nil {
				return Peer{}, err
			}
			if answered {
				watchers.Go(func() { o.watchConfirmation(ctx, n.opened.Number, seen) })
			}
		default:
			got, err := o.confirm(n)
			if err == nil {
				return got, nil
			}
			o.settle(err)
		}
		if o.settled == MaxTries {
			return Peer{}, ErrBurned
		}
	}
}

// close does not end with the caller's context: a mailbox left behind could be
// tried for minutes.
func (o *Offer) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := reason(o.pairing.cfg.Mailbox.CloseMailbox(ctx, o.Address)); err != nil && !over(err) {
		o.pairing.cfg.Logger.Warn("pairing mailbox could not be closed; it expires by itself", "error", err)
	}
}

// watchTries reports new tries, MaxTries at most: a rendezvous that does not
// count gains nothing.
func (o *Offer) watchTries(ctx context.Context, seen chan<- news) {
	for number := 0; number < MaxTries; {
		tries, err := o.pairing.cfg.Mailbox.Tries(ctx, o.Address, number)
		if err = reason(err); over(err) {
			send(ctx, seen, news{err: err})
			return
		}
		pause := o.away(ctx, err)
		for _, t := range tries {
			if t.Number == number+1 && number < MaxTries {
				number++
				send(ctx, seen, news{opened: &t})
			}
		}
		if sleep(ctx, pause) != nil {
			return
		}
	}
}

// watchConfirmation reports the confirmation of a try, or that its time is over.
func (o *Offer) watchConfirmation(ctx context.Context, number int, seen chan<- news) {
	bounded, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	for {
		t, err := o.pairing.cfg.Mailbox.Result(bounded, o.Address, number)
		if err == nil && t.Confirmation != nil {
			send(ctx, seen, news{confirmed: number, confirmation: t.Confirmation})
			return
		}
		if sleep(bounded, o.away(bounded, err)) != nil {
			send(ctx, seen, news{confirmed: number})
			return
		}
	}
}

// away returns how long to wait before the rendezvous is asked again. If it
// cannot be reached, it may be back in a moment; the deadline ends the waiting.
func (o *Offer) away(ctx context.Context, err error) time.Duration {
	if err == nil || ctx.Err() != nil {
		return pollPause
	}
	o.pairing.cfg.Logger.Warn("pairing mailbox cannot be reached, trying again", "error", err)
	return awayPause
}

func send(ctx context.Context, seen chan<- news, n news) {
	select {
	case seen <- n:
	case <-ctx.Done():
	}
}

// settle ends a try that has failed.
func (o *Offer) settle(reason error) {
	o.settled++
	o.pairing.cfg.Logger.Warn("pairing try failed", "error", reason)
	if o.failed != nil {
		o.failed(MaxTries - len(o.tries))
	}
}

// answer counts the try and only then answers it. Whatever goes wrong, the try
// stays counted.
func (o *Offer) answer(ctx context.Context, t api.Try) (bool, error) {
	known := &hostTry{}
	o.tries[t.Number] = known
	raw, err := o.compute(known, t.Opening)
	if errors.Is(err, errMessage) || errors.Is(err, cpace.ErrShare) {
		o.settle(err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := o.pairing.cfg.Mailbox.Answer(ctx, o.Address, t.Number, raw); err != nil {
		o.settle(fmt.Errorf("answer: %w", err))
		return false, nil
	}
	return true, nil
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

// confirm returns the client that a confirmation proves.
func (o *Offer) confirm(n news) (Peer, error) {
	t := o.tries[n.confirmed]
	if n.confirmation == nil {
		return Peer{}, ErrNoAnswer
	}
	c, err := decode[confirmation](n.confirmation)
	if err != nil {
		return Peer{}, err
	}
	if t.session == nil || !t.session.Confirms(c.Tag, t.theirs) {
		return Peer{}, ErrWrongPIN
	}
	theirs, err := open(*t.session, roleClient, c.Card)
	if err != nil {
		return Peer{}, err
	}
	got := peer(t.theirKey, theirs)
	if got.ID == o.pairing.cfg.Key.ID() {
		return Peer{}, ErrSelf
	}
	return got, nil
}
