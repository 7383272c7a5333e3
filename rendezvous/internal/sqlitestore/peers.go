package sqlitestore

import (
	"context"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

const peerColumns = `p.id, p.public_key, p.name, p.created, p.token_prefix, p.token_hash, p.version`

// Peer returns a peer.
func (s Peers) Peer(ctx context.Context, id ident.PeerID) (peers.Peer, error) {
	return s.one(ctx, `SELECT `+peerColumns+` FROM peers p WHERE p.id = ?`, id[:])
}

// PeerByToken returns the peer with a token that has this prefix.
func (s Peers) PeerByToken(ctx context.Context, prefix registry.TokenPrefix) (peers.Peer, error) {
	return s.one(ctx, `SELECT `+peerColumns+` FROM peers p WHERE p.token_prefix = ?`, prefix[:])
}

// PeerFor returns the owner of a permission. The cross join reads the permission
// first: without it no peer is looked up, whose existence the time could reveal.
func (s Peers) PeerFor(ctx context.Context, p peers.Permission) (peers.Peer, error) {
	return s.one(ctx, `SELECT `+peerColumns+` FROM allowed a CROSS JOIN peers p ON p.id = a.owner
		WHERE a.owner = ? AND a.peer = ?`, p.Owner[:], p.Peer[:])
}

func (s Peers) one(ctx context.Context, sql string, args ...any) (peers.Peer, error) {
	p, err := scanPeer(s.db.read.QueryRowContext(ctx, sql, args...))
	return p, failed("read a peer", err)
}

func scanPeer(row scanner) (peers.Peer, error) {
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

// Peers returns peers. SQLite's lower changes the case of ASCII letters only.
func (s Peers) Peers(ctx context.Context, q peers.Query) ([]peers.Peer, error) {
	return collect(ctx, s.db, query{
		"read the peers",
		`SELECT ` + peerColumns + ` FROM peers p
			WHERE p.id > ?1 AND (?6 OR ?2 <> '' AND instr(lower(p.name), lower(?2)) > 0 OR p.id BETWEEN ?4 AND ?5)
			ORDER BY p.id LIMIT ?3`,
		[]any{q.After[:], q.Name, q.Limit, q.First[:], q.Last[:], q.Everyone()},
	}, scanPeer)
}

// Rename changes a peer's name.
func (s Peers) Rename(ctx context.Context, n peers.NameChange) error {
	return s.db.tx(ctx, "rename a peer", func(tx *transaction) error {
		if err := checkVersion(ctx, tx, n.ID, n.Version); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE peers SET name = ?1, version = version + (name <> ?1), named = ?2
			WHERE id = ?3`,
			n.Name, n.By != nil, n.ID[:])
		if err != nil || n.By == nil {
			return err
		}
		return addEvents(ctx, tx, *n.By)
	})
}

// checkVersion checks a peer's version, 0 accepts any. Errors: peers.ErrNotFound,
// peers.ErrChanged.
func checkVersion(ctx context.Context, tx *transaction, id ident.PeerID, version int64) error {
	var now int64
	err := tx.QueryRowContext(ctx, `SELECT version FROM peers WHERE id = ?`, id[:]).Scan(&now)
	if err == nil && version != 0 && version != now {
		return peers.ErrChanged
	}
	return none(err, peers.ErrNotFound)
}

// CountPeers returns the number of registered peers.
func (s Peers) CountPeers(ctx context.Context) (n int, err error) {
	err = s.db.read.QueryRowContext(ctx, `SELECT count(*) FROM peers`).Scan(&n)
	return n, failed("count the peers", err)
}
