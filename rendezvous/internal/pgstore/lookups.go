package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Peers that are looked for at the same time are one question: each request to
// the REST interface asks whose its token is, and each new signalling connection
// whether the peer is registered, which after an instance has died are thousands
// a second.
const (
	mostLookedUp = 256
	lookupRuns   = 4
	lookupWait   = 10 * time.Second
)

// lookups gathers questions for peers by some key.
func lookups[K comparable](s *Store, column string, raw func(*K) []byte, of func(*registry.Peer) K) *batch.Batch[K, registry.Peer] {
	query := `SELECT ` + peerColumns + ` FROM peers p WHERE p.` + column + ` = ANY($1::bytea[])`
	do := func(ctx context.Context, keys []K) []batch.Answer[registry.Peer] {
		values := make([][]byte, len(keys))
		for i := range keys {
			values[i] = raw(&keys[i])
		}
		found, err := collect(ctx, s, "read peers", func(row pgx.CollectableRow) (registry.Peer, error) { return peer(row) }, query, values)
		if err != nil {
			return batch.Failed[registry.Peer](len(keys), err)
		}
		byKey := make(map[K]registry.Peer, len(found))
		for _, p := range found {
			byKey[of(&p)] = p
		}
		answers := make([]batch.Answer[registry.Peer], len(keys))
		for i, k := range keys {
			p, ok := byKey[k]
			if answers[i].Value = p; !ok {
				answers[i].Err = registry.ErrPeerNotFound
			}
		}
		return answers
	}
	return batch.New(batch.Config[K, registry.Peer]{Do: do, Most: mostLookedUp, Runs: lookupRuns, Wait: lookupWait})
}

// Peer returns a peer.
func (s *Store) Peer(ctx context.Context, id ident.PeerID) (registry.Peer, error) {
	return s.byID.Ask(ctx, id)
}

// PeerByToken returns the peer whose token begins so.
func (s *Store) PeerByToken(ctx context.Context, prefix registry.TokenPrefix) (registry.Peer, error) {
	return s.byToken.Ask(ctx, prefix)
}
