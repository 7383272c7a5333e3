package pairing

import (
	"bytes"
	"context"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/pairing/cpace"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Join pairs with the host that offers the address. A wrong PIN is a
// [WrongPINError]; the other reasons are this package's errors.
func (p *Pairing) Join(ctx context.Context, address ident.Address, pin ident.PIN) (Peer, error) {
	got, err := p.join(ctx, address, pin)
	if err != nil {
		return Peer{}, fmt.Errorf("pairing with %s: %w", address, reason(err))
	}
	return got, nil
}

func (p *Pairing) join(ctx context.Context, address ident.Address, pin ident.PIN) (Peer, error) {
	run, err := start(p.cfg.Random, address, pin)
	if err != nil {
		return Peer{}, err
	}
	key := p.cfg.Key.Public()
	first, err := encode(opening{Version: version, Share: run.Share(), Key: key})
	if err != nil {
		return Peer{}, err
	}
	try, err := p.cfg.Mailbox.Try(ctx, address, first)
	if err != nil {
		return Peer{}, err
	}
	raw, err := p.awaitAnswer(ctx, address, try.Number)
	if err != nil {
		return Peer{}, err
	}
	got, second, err := p.checkAnswer(run, raw)
	if err != nil {
		p.giveUp(ctx, address, try.Number)
		return Peer{}, err
	}
	if err := p.cfg.Mailbox.Confirm(ctx, address, try.Number, second); err != nil {
		return Peer{}, err
	}
	return got, nil
}

// giveUp lets the host say at once that somebody guessed wrong. It has counted
// the try anyway, so that nothing depends on its arrival.
func (p *Pairing) giveUp(ctx context.Context, address ident.Address, try int) {
	empty, err := encode(confirmation{})
	if err == nil {
		err = p.cfg.Mailbox.Confirm(ctx, address, try, empty)
	}
	if err != nil {
		p.cfg.Logger.Debug("the host was not told of the failed try", "error", err)
	}
}

// awaitAnswer asks until the host has answered.
func (p *Pairing) awaitAnswer(ctx context.Context, address ident.Address, try int) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, ErrNoAnswer)
	defer cancel()
	for {
		t, err := p.cfg.Mailbox.Result(ctx, address, try)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil || t.Answer != nil {
			return t.Answer, err
		}
		if err := sleep(ctx, pollPause); err != nil {
			return nil, err
		}
	}
}

// checkAnswer returns the proved host and the confirmation to send to it.
func (p *Pairing) checkAnswer(run *cpace.Party, raw []byte) (Peer, []byte, error) {
	a, err := decode[answer](raw)
	if err != nil {
		return Peer{}, nil, err
	}
	key := p.cfg.Key.Public()
	if bytes.Equal(a.Key, key) {
		return Peer{}, nil, ErrSelf
	}
	own := data(roleClient, key)
	theirs := cpace.Message{Share: a.Share, Data: data(roleHost, a.Key)}
	session, err := run.Initiate(own, theirs)
	if err != nil {
		return Peer{}, nil, err
	}
	if !session.Confirms(a.Tag, theirs) {
		return Peer{}, nil, WrongPINError{Left: a.Left}
	}
	c, err := open(session, roleHost, a.Card)
	if err != nil {
		return Peer{}, nil, err
	}
	sealed, err := seal(session, roleClient, p.card())
	if err != nil {
		return Peer{}, nil, err
	}
	second, err := encode(confirmation{Tag: session.Tag(cpace.Message{Share: run.Share(), Data: own}), Card: sealed})
	return peer(a.Key, c), second, err
}
