package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// Allow keeps a permission.
func (s AllowList) Allow(ctx context.Context, a peers.Allowance, max int) (since time.Time, err error) {
	err = s.db.tx(ctx, "allow a peer", func(tx *transaction) error {
		var ms int64
		err := tx.QueryRowContext(ctx, `SELECT since FROM allowed WHERE owner = ?1 AND peer = ?2`,
			a.Owner[:], a.Peer[:]).Scan(&ms)
		if !errors.Is(err, sql.ErrNoRows) {
			since = moment(ms)
			return err
		}
		since = moment(millis(a.Since))
		res, err := tx.ExecContext(ctx, `INSERT INTO allowed (owner, peer, since) SELECT ?1, ?2, ?3
			WHERE (SELECT count(*) FROM allowed WHERE owner = ?1) < ?4`, a.Owner[:], a.Peer[:], millis(a.Since), max)
		return touched(res, err, peers.ErrAllowedLimit)
	})
	return since, err
}

// Disallow removes a permission.
func (s AllowList) Disallow(ctx context.Context, p peers.Permission) error {
	return s.db.exec(ctx, statement{
		what: "disallow a peer", sql: `DELETE FROM allowed WHERE owner = ?1 AND peer = ?2`,
	}, p.Owner[:], p.Peer[:])
}

// Allowed reports whether a permission exists.
func (s AllowList) Allowed(ctx context.Context, p peers.Permission) (since time.Time, ok bool, err error) {
	var ms int64
	err = s.db.read.QueryRowContext(ctx, `SELECT since FROM allowed WHERE owner = ?1 AND peer = ?2`,
		p.Owner[:], p.Peer[:]).Scan(&ms)
	if errors.Is(err, sql.ErrNoRows) {
		return since, false, nil
	}
	if err != nil {
		return since, false, failed("read a permission", err)
	}
	return moment(ms), true, nil
}

// AllowedBy returns the permissions that an owner gave.
func (s AllowList) AllowedBy(ctx context.Context, owner ident.PeerID) ([]peers.Allowance, error) {
	return collect(ctx, s.db, query{
		"read the permissions", `SELECT peer, since FROM allowed WHERE owner = ?1 ORDER BY peer`, []any{owner[:]},
	}, func(row scanner) (peers.Allowance, error) {
		a := peers.Allowance{Permission: peers.Permission{Owner: owner}}
		var peer []byte
		var since int64
		err := row.Scan(&peer, &since)
		copy(a.Peer[:], peer)
		a.Since = moment(since)
		return a, err
	})
}
