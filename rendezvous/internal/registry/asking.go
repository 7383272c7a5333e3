package registry

import (
	"context"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Asking is a peer that was refused because it had no invite. It has proved its
// key.
type Asking struct {
	Peer   ident.PeerID
	Source string    // from where; "" if unknown
	Last   time.Time // when it asked last
}

const (
	lookBack  = 500 // refusals in which it is looked for who asks
	maxAsking = 50
	// askFor is how long a peer that asks no more is shown.
	askFor = 24 * time.Hour
)

// Asking returns peers that have asked to register within the last day, the last
// first, and may neither do so yet nor are registered. Of those that ask from
// one source within one minute only one is known.
func (r *Registry) Asking(ctx context.Context) ([]Asking, error) {
	events, err := r.cfg.Store.Events(ctx, EventQuery{Limit: lookBack, Kind: EventRefused})
	if err != nil {
		return nil, err
	}
	known, err := r.approved(ctx)
	if err != nil {
		return nil, err
	}
	since := r.cfg.Now().Add(-askFor)
	var all []Asking
	for _, e := range events {
		if e.Peer.IsZero() || known[e.Peer] || e.At.Before(since) || !strings.HasSuffix(e.Detail, ErrInviteNeeded.Error()) {
			continue
		}
		known[e.Peer] = true
		if _, err := r.cfg.Store.Peer(ctx, e.Peer); !errors.Is(err, ErrPeerNotFound) {
			if err != nil {
				return nil, err
			}
			continue // it has registered since
		}
		if all = append(all, Asking{Peer: e.Peer, Source: e.Source, Last: e.At}); len(all) == maxAsking {
			break
		}
	}
	return all, nil
}

func (r *Registry) approved(ctx context.Context) (map[ident.PeerID]bool, error) {
	all, err := r.cfg.Store.Approvals(ctx, ident.PeerID{}, MaxBatch)
	known := map[ident.PeerID]bool{}
	for _, a := range all {
		known[a.Peer] = true
	}
	return known, err
}

// Search makes a query for peers of what a person typed: part of a name, or an
// ID or its beginning.
func Search(text string, limit int) PeerQuery {
	q := PeerQuery{Limit: limit, Name: text}
	if id, err := ident.ParsePeerID(text); err == nil {
		q.Name, q.First, q.Last = "", id, id
		return q
	}
	const plain = 13 // characters of an ID before the first that checks others
	letters := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(text))
	if letters == "" {
		return q
	}
	letters = letters[:min(len(letters), plain)]
	encoding := base32.StdEncoding.WithPadding(base32.NoPadding)
	first, err := encoding.DecodeString(letters + strings.Repeat("A", 52-len(letters)))
	if err != nil {
		return q
	}
	last, err := encoding.DecodeString(letters + strings.Repeat("7", 52-len(letters)))
	if err != nil {
		return q
	}
	copy(q.First[:], first)
	copy(q.Last[:], last)
	return q
}
