package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// lockPeer lets one transaction at a time count or add rows that belong to a
// peer, registered or not. The key is the first 8 bytes of the ID, which is a
// hash: two peers with the same key only wait for each other.
func lockPeer(ctx context.Context, tx pgx.Tx, id ident.PeerID) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, peerKey(id))
	return err
}

const peerColumns = `p.id, p.public_key, p.name, p.created, p.token_prefix, p.token_hash, p.version`

func scanPeer(row pgx.Row) (peers.Peer, error) {
	var p peers.Peer
	var id, key, prefix, hash []byte
	var created int64
	err := row.Scan(&id, &key, &p.Name, &created, &prefix, &hash, &p.Version)
	copy(p.ID[:], id)
	p.PublicKey = key
	p.Created = moment(created)
	copy(p.TokenPrefix[:], prefix)
	copy(p.TokenHash[:], hash)
	return p, none(err, peers.ErrNotFound)
}

// PeerFor returns the owner of a permission. The subquery reads the permission
// first: without it no peer is looked up, whose existence the time could reveal.
func (s Peers) PeerFor(ctx context.Context, p peers.Permission) (peers.Peer, error) {
	found, err := scanPeer(s.db.pool.QueryRow(ctx, `SELECT `+peerColumns+` FROM peers p
		WHERE p.id = (SELECT a.owner FROM allowed a WHERE a.owner = $1 AND a.peer = $2)`, p.Owner[:], p.Peer[:]))
	return found, s.db.failed("read a peer", err)
}

// Peers returns peers. The collation "C" changes the case of ASCII letters only.
func (s Peers) Peers(ctx context.Context, q peers.Query) ([]peers.Peer, error) {
	return collect(ctx, s.db, query{
		"read the peers",
		`SELECT ` + peerColumns + ` FROM peers p WHERE p.id > $1 AND
			($6 OR $2 <> '' AND strpos(lower(p.name COLLATE "C"), lower($2 COLLATE "C")) > 0 OR p.id BETWEEN $4 AND $5)
			ORDER BY p.id LIMIT $3`,
		[]any{q.After[:], q.Name, q.Limit, q.First[:], q.Last[:], q.Everyone()},
	}, peerRow)
}

// Rename changes a peer's name.
func (s Peers) Rename(ctx context.Context, n peers.NameChange) error {
	return s.db.tx(ctx, "rename a peer", func(tx pgx.Tx) error {
		if err := lockVersion(ctx, tx, n.ID, n.Version); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE peers SET name = $1, version = version + (name <> $1)::int, named = $2
			WHERE id = $3`,
			n.Name, n.By != nil, n.ID[:])
		if err != nil || n.By == nil {
			return err
		}
		return addEvents(ctx, tx, *n.By)
	})
}

// lockVersion locks a peer's row. Errors: peers.ErrNotFound, and peers.ErrChanged
// if the peer has another version; 0 accepts any.
func lockVersion(ctx context.Context, tx pgx.Tx, id ident.PeerID, version int64) error {
	var now int64
	err := tx.QueryRow(ctx, `SELECT version FROM peers WHERE id = $1 FOR UPDATE`, id[:]).Scan(&now)
	if err == nil && version != 0 && version != now {
		return peers.ErrChanged
	}
	return none(err, peers.ErrNotFound)
}

// CountPeers returns the number of registered peers.
func (s Peers) CountPeers(ctx context.Context) (n int, err error) {
	err = s.db.pool.QueryRow(ctx, `SELECT count(*) FROM peers`).Scan(&n)
	return n, s.db.failed("count the peers", err)
}
