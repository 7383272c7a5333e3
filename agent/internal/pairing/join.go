package pairing

import (
	"bytes"
	"context"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/pairing/cpace"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Join pairs with the host that offers the address. If the PIN is wrong, the error
// wraps a [WrongPINError]. Other errors wrap an error of this package if one
// describes the reason.
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
	first, err := encode(openingMessage{Version: version, Share: run.Share(), Key: key})
	if err != nil {
		return Peer{}, err
	}
	try, err := p.cfg.ClientMailbox.Try(ctx, address, first)
	if err != nil {
		return Peer{}, err
	}
	raw, err := p.awaitAnswer(ctx, address, try.Number)
	if err != nil {
		return Peer{}, err
	}
	got, second, err := p.checkAnswer(run, raw)
	if err != nil {
		p.abandon(ctx, address, try.Number)
		return Peer{}, err
	}
	if err := p.cfg.ClientMailbox.Confirm(ctx, address, try.Number, second); err != nil {
		return Peer{}, err
	}
	return got, nil
}

// abandon sends an empty confirmation, so that the host can report a wrong PIN at
// once. The host has counted the try already and does not depend on it.
func (p *Pairing) abandon(ctx context.Context, address ident.Address, try int) {
	empty, err := encode(confirmationMessage{})
	if err == nil {
		err = p.cfg.ClientMailbox.Confirm(ctx, address, try, empty)
	}
	if err != nil {
		p.cfg.Logger.Debug("cannot report the failed pairing try to the host", "err", err)
	}
}

// awaitAnswer waits for the host's answer, at most answerTimeout.
func (p *Pairing) awaitAnswer(ctx context.Context, address ident.Address, try int) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, ErrNoAnswer)
	defer cancel()
	for {
		t, err := p.cfg.ClientMailbox.Result(ctx, address, try)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil || t.Answer != nil {
			return t.Answer, err
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return nil, err
		}
	}
}

// checkAnswer authenticates the host by its answer. It returns the host and the
// confirmation to send.
func (p *Pairing) checkAnswer(run *cpace.Party, raw []byte) (Peer, []byte, error) {
	a, err := decode[answerMessage](raw)
	if err != nil {
		return Peer{}, nil, err
	}
	key := p.cfg.Key.Public()
	if bytes.Equal(a.Key, key) {
		return Peer{}, nil, ErrSelf
	}
	own := associatedData(roleClient, key)
	theirs := cpace.Message{Share: a.Share, Data: associatedData(roleHost, a.Key)}
	sessionKey, err := run.Initiate(own, theirs)
	if err != nil {
		return Peer{}, nil, err
	}
	if !sessionKey.Confirms(a.Tag, theirs) {
		return Peer{}, nil, WrongPINError{Left: a.Left}
	}
	c, err := open(sessionKey, roleHost, a.Card)
	if err != nil {
		return Peer{}, nil, err
	}
	sealed, err := seal(sessionKey, roleClient, p.card())
	if err != nil {
		return Peer{}, nil, err
	}
	tag := sessionKey.Tag(cpace.Message{Share: run.Share(), Data: own})
	second, err := encode(confirmationMessage{Tag: tag, Card: sealed})
	return newPeer(a.Key, c), second, err
}
