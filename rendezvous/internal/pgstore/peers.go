package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// lockPeer lets one transaction at a time count or add what belongs to a peer,
// registered or not. The key is the first 8 bytes of the ID, which is a hash:
// two peers that share them wait for each other, and nothing worse.
func lockPeer(ctx context.Context, tx pgx.Tx, id ident.PeerID) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, peerKey(id))
	return err
}

const peerColumns = `p.id, p.public_key, p.name, p.created, p.token_prefix, p.token_hash, p.version`

// PeerFor returns a peer that allows caller. The subquery asks for the
// permission first: where there is none, no peer is looked up that could tell
// why.
func (s *Store) PeerFor(ctx context.Context, caller, id ident.PeerID) (registry.Peer, error) {
	return s.peer(ctx, `SELECT `+peerColumns+` FROM peers p
		WHERE p.id = (SELECT a.owner FROM allowed a WHERE a.owner = $1 AND a.peer = $2)`, id[:], caller[:])
}

func (s *Store) peer(ctx context.Context, query string, args ...any) (registry.Peer, error) {
	p, err := peer(s.pool.QueryRow(ctx, query, args...))
	return p, s.failed("read a peer", err)
}

func peer(row pgx.Row) (registry.Peer, error) {
	var p registry.Peer
	var id, key, prefix, hash []byte
	var created int64
	err := row.Scan(&id, &key, &p.Name, &created, &prefix, &hash, &p.Version)
	copy(p.ID[:], id)
	p.PublicKey = key
	p.Created = moment(created)
	copy(p.TokenPrefix[:], prefix)
	copy(p.TokenHash[:], hash)
	return p, none(err, registry.ErrPeerNotFound)
}

// Peers returns some of all peers.
func (s *Store) Peers(ctx context.Context, q registry.PeerQuery) ([]registry.Peer, error) {
	// The collation "C" knows the ASCII letters alone.
	const query = `SELECT ` + peerColumns + ` FROM peers p
		WHERE p.id > $1 AND ($6 OR $2 <> '' AND strpos(lower(p.name COLLATE "C"), lower($2 COLLATE "C")) > 0 OR p.id BETWEEN $4 AND $5)
		ORDER BY p.id LIMIT $3`
	return collect(ctx, s, "read the peers", func(row pgx.CollectableRow) (registry.Peer, error) { return peer(row) },
		query, q.After[:], q.Name, q.Limit, q.First[:], q.Last[:], q.Everyone())
}

// Rename changes a peer's name.
func (s *Store) Rename(ctx context.Context, n registry.Naming) error {
	return s.tx(ctx, "rename a peer", func(tx pgx.Tx) error {
		if err := atVersion(ctx, tx, n.ID, n.Version); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE peers SET name = $1, version = version + (name <> $1)::int, named = $2 WHERE id = $3`, n.Name, n.By != nil, n.ID[:])
		if err != nil || n.By == nil {
			return err
		}
		return addEvents(ctx, tx, *n.By)
	})
}

// atVersion locks a peer's row, and reports one that is not there, or not at a
// version; 0 is any.
func atVersion(ctx context.Context, tx pgx.Tx, id ident.PeerID, version int64) error {
	var now int64
	err := tx.QueryRow(ctx, `SELECT version FROM peers WHERE id = $1 FOR UPDATE`, id[:]).Scan(&now)
	if err == nil && version != 0 && version != now {
		return registry.ErrChanged
	}
	return none(err, registry.ErrPeerNotFound)
}

// Allow lets a peer find its owner.
func (s *Store) Allow(ctx context.Context, a registry.Allowance, max int) (since time.Time, err error) {
	err = s.tx(ctx, "allow a peer", func(tx pgx.Tx) error {
		if err := lockPeer(ctx, tx, a.Owner); err != nil {
			return err
		}
		var ms int64
		err := tx.QueryRow(ctx, `SELECT since FROM allowed WHERE owner = $1 AND peer = $2`, a.Owner[:], a.Peer[:]).Scan(&ms)
		if !errors.Is(err, pgx.ErrNoRows) {
			since = moment(ms)
			return err
		}
		since = moment(millis(a.Since))
		tag, err := tx.Exec(ctx, `INSERT INTO allowed (owner, peer, since) SELECT $1, $2, $3
			WHERE (SELECT count(*) FROM allowed WHERE owner = $1) < $4`, a.Owner[:], a.Peer[:], millis(a.Since), max)
		return touched(tag, err, registry.ErrAllowedLimit)
	})
	return since, err
}

// Disallow takes the permission back.
func (s *Store) Disallow(ctx context.Context, owner, peer ident.PeerID) error {
	return s.one(ctx, "disallow a peer", nil, `DELETE FROM allowed WHERE owner = $1 AND peer = $2`, owner[:], peer[:])
}

// Allowed reports whether owner lets peer find it.
func (s *Store) Allowed(ctx context.Context, owner, peer ident.PeerID) (since time.Time, ok bool, err error) {
	var ms int64
	err = s.pool.QueryRow(ctx, `SELECT since FROM allowed WHERE owner = $1 AND peer = $2`, owner[:], peer[:]).Scan(&ms)
	if errors.Is(err, pgx.ErrNoRows) {
		return since, false, nil
	}
	if err != nil {
		return since, false, s.failed("read a permission", err)
	}
	return moment(ms), true, nil
}

// AllowedBy returns everyone whom owner allows.
func (s *Store) AllowedBy(ctx context.Context, owner ident.PeerID) ([]registry.Allowance, error) {
	const query = `SELECT peer, since FROM allowed WHERE owner = $1 ORDER BY peer`
	return collect(ctx, s, "read the permissions", func(row pgx.CollectableRow) (registry.Allowance, error) {
		a := registry.Allowance{Owner: owner}
		var peer []byte
		var since int64
		err := row.Scan(&peer, &since)
		copy(a.Peer[:], peer)
		a.Since = moment(since)
		return a, err
	}, query, owner[:])
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, s *Store, what string, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, s.failed(what, err)
	}
	all, err := pgx.CollectRows(rows, scan)
	return all, s.failed(what, err)
}
