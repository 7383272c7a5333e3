package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// Concurrent lookups of peers are one query. Each REST request looks up the peer
// of its token, and each new signalling connection its peer: thousands a second
// after an instance has died.
const (
	maxLookups    = 256
	maxLookupRuns = 4
	lookupTimeout = 10 * time.Second
)

// lookups returns a batch of lookups of peers by a column. raw returns the
// column's value for a key, and of returns the key of a peer.
func lookups[K comparable](
	db *DB, column string, raw func(*K) []byte, of func(*peers.Peer) K,
) *batch.Batch[K, peers.Peer] {
	sql := `SELECT ` + peerColumns + ` FROM peers p WHERE p.` + column + ` = ANY($1::bytea[])`
	do := func(ctx context.Context, keys []K) []batch.Result[peers.Peer] {
		values := make([][]byte, len(keys))
		for i := range keys {
			values[i] = raw(&keys[i])
		}
		found, err := collect(ctx, db, query{"read peers", sql, []any{values}}, peerRow)
		if err != nil {
			return batch.Failed[peers.Peer](len(keys), err)
		}
		byKey := make(map[K]peers.Peer, len(found))
		for _, p := range found {
			byKey[of(&p)] = p
		}
		results := make([]batch.Result[peers.Peer], len(keys))
		for i, k := range keys {
			p, ok := byKey[k]
			if results[i].Value = p; !ok {
				results[i].Err = peers.ErrNotFound
			}
		}
		return results
	}
	return batch.New(batch.Config[K, peers.Peer]{
		Do: do, MaxCalls: maxLookups, MaxRuns: maxLookupRuns, Timeout: lookupTimeout,
	})
}

// Peer returns a peer.
func (s Peers) Peer(ctx context.Context, id ident.PeerID) (peers.Peer, error) {
	return s.db.byID.Call(ctx, id)
}

// PeerByToken returns the peer with a token that has this prefix.
func (s Peers) PeerByToken(ctx context.Context, prefix registry.TokenPrefix) (peers.Peer, error) {
	return s.db.byToken.Call(ctx, prefix)
}

func peerRow(row pgx.CollectableRow) (peers.Peer, error) { return scanPeer(row) }
