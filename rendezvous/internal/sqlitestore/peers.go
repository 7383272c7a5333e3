package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

const peerColumns = `p.id, p.public_key, p.name, p.created, p.token_prefix, p.token_hash, p.version`

// Peer returns a peer.
func (s *Store) Peer(ctx context.Context, id ident.PeerID) (registry.Peer, error) {
	return s.peer(ctx, `SELECT `+peerColumns+` FROM peers p WHERE p.id = ?`, id[:])
}

// PeerByToken returns the peer whose token begins so.
func (s *Store) PeerByToken(ctx context.Context, prefix registry.TokenPrefix) (registry.Peer, error) {
	return s.peer(ctx, `SELECT `+peerColumns+` FROM peers p WHERE p.token_prefix = ?`, prefix[:])
}

// PeerFor returns a peer that allows caller. It asks for the permission first:
// where there is none, nothing is looked up that could tell why.
func (s *Store) PeerFor(ctx context.Context, caller, id ident.PeerID) (registry.Peer, error) {
	return s.peer(ctx, `SELECT `+peerColumns+` FROM allowed a CROSS JOIN peers p ON p.id = a.owner WHERE a.owner = ? AND a.peer = ?`, id[:], caller[:])
}

func (s *Store) peer(ctx context.Context, query string, args ...any) (registry.Peer, error) {
	p, err := peer(s.read.QueryRowContext(ctx, query, args...))
	return p, failed("read a peer", err)
}

func peer(row scanner) (registry.Peer, error) {
	var p registry.Peer
	var id, key, prefix, hash []byte
	var created int64
	err := row.Scan(&id, &key, &p.Name, &created, &prefix, &hash, &p.Version)
	if errors.Is(err, sql.ErrNoRows) {
		return p, registry.ErrPeerNotFound
	}
	copy(p.ID[:], id)
	p.PublicKey = key
	p.Created = moment(created)
	copy(p.TokenPrefix[:], prefix)
	copy(p.TokenHash[:], hash)
	return p, err
}

// Peers returns some of all peers.
func (s *Store) Peers(ctx context.Context, q registry.PeerQuery) ([]registry.Peer, error) {
	// SQLite's lower knows the ASCII letters alone.
	rows, err := s.read.QueryContext(ctx, `SELECT `+peerColumns+` FROM peers p
		WHERE p.id > ?1 AND (?6 OR ?2 <> '' AND instr(lower(p.name), lower(?2)) > 0 OR p.id BETWEEN ?4 AND ?5)
		ORDER BY p.id LIMIT ?3`, q.After[:], q.Name, q.Limit, q.First[:], q.Last[:], q.Everyone())
	if err != nil {
		return nil, failed("read the peers", err)
	}
	return collect(rows, "read the peers", func(rows *sql.Rows) (registry.Peer, error) { return peer(rows) })
}

// Rename changes a peer's name.
func (s *Store) Rename(ctx context.Context, n registry.Naming) error {
	return s.tx(ctx, "rename a peer", func(tx *transaction) error {
		if err := atVersion(ctx, tx, n.ID, n.Version); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE peers SET name = ?1, version = version + (name <> ?1), named = ?2 WHERE id = ?3`, n.Name, n.By != nil, n.ID[:])
		if err != nil || n.By == nil {
			return err
		}
		return addEvents(ctx, tx, *n.By)
	})
}

// atVersion reports a peer that is not there, or not at a version; 0 is any.
func atVersion(ctx context.Context, tx *transaction, id ident.PeerID, version int64) error {
	var now int64
	err := tx.QueryRowContext(ctx, `SELECT version FROM peers WHERE id = ?`, id[:]).Scan(&now)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return registry.ErrPeerNotFound
	case err == nil && version != 0 && version != now:
		return registry.ErrChanged
	}
	return err
}

// Allow lets a peer find its owner.
func (s *Store) Allow(ctx context.Context, a registry.Allowance, max int) (since time.Time, err error) {
	err = s.tx(ctx, "allow a peer", func(tx *transaction) error {
		var ms int64
		err := tx.QueryRowContext(ctx, `SELECT since FROM allowed WHERE owner = ? AND peer = ?`, a.Owner[:], a.Peer[:]).Scan(&ms)
		if !errors.Is(err, sql.ErrNoRows) {
			since = moment(ms)
			return err
		}
		since = moment(millis(a.Since))
		res, err := tx.ExecContext(ctx, `INSERT INTO allowed (owner, peer, since) SELECT ?, ?, ? WHERE (SELECT count(*) FROM allowed WHERE owner = ?) < ?`,
			a.Owner[:], a.Peer[:], millis(a.Since), a.Owner[:], max)
		return oneRow(res, err, registry.ErrAllowedLimit)
	})
	return since, err
}

// Disallow takes the permission back.
func (s *Store) Disallow(ctx context.Context, owner, peer ident.PeerID) error {
	_, err := s.write.ExecContext(ctx, `DELETE FROM allowed WHERE owner = ? AND peer = ?`, owner[:], peer[:])
	return failed("disallow a peer", err)
}

// Allowed reports whether owner lets peer find it.
func (s *Store) Allowed(ctx context.Context, owner, peer ident.PeerID) (since time.Time, ok bool, err error) {
	var ms int64
	err = s.read.QueryRowContext(ctx, `SELECT since FROM allowed WHERE owner = ? AND peer = ?`, owner[:], peer[:]).Scan(&ms)
	if errors.Is(err, sql.ErrNoRows) {
		return since, false, nil
	}
	if err != nil {
		return since, false, failed("read a permission", err)
	}
	return moment(ms), true, nil
}

// AllowedBy returns everyone whom owner allows.
func (s *Store) AllowedBy(ctx context.Context, owner ident.PeerID) ([]registry.Allowance, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT peer, since FROM allowed WHERE owner = ? ORDER BY peer`, owner[:])
	if err != nil {
		return nil, failed("read the permissions", err)
	}
	return collect(rows, "read the permissions", func(rows *sql.Rows) (registry.Allowance, error) {
		a := registry.Allowance{Owner: owner}
		var peer []byte
		var since int64
		err := rows.Scan(&peer, &since)
		copy(a.Peer[:], peer)
		a.Since = moment(since)
		return a, err
	})
}

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, what string, scan func(*sql.Rows) (T, error)) ([]T, error) {
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, failed(what, errors.Join(err, rows.Close()))
		}
		all = append(all, one)
	}
	return all, failed(what, errors.Join(rows.Err(), rows.Close()))
}
