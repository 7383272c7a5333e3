package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// Concurrent registrations are one transaction. In separate transactions those
// with the same invite would wait for its row, and for each other's commit to
// reach the disk.
const (
	maxAdmissions = 256
	admitTimeout  = 10 * time.Second
)

// Admit registers or renews a peer.
func (s Peers) Admit(ctx context.Context, a peers.Admission) (peers.AdmissionResult, error) {
	return s.db.admits.Call(ctx, a)
}

// admit executes a batch of admissions, in as many transactions as are needed for
// each to have every peer and every challenge at most once.
func (s Peers) admit(ctx context.Context, all []peers.Admission) []batch.Result[peers.AdmissionResult] {
	results := make([]batch.Result[peers.AdmissionResult], len(all))
	left := make([]int, len(all))
	for i := range all {
		left[i] = i
	}
	for len(left) > 0 {
		var now []*admission
		var places, later []int
		seen := map[string]bool{}
		for _, i := range left {
			a := all[i]
			if seen[string(a.Peer.ID[:])] || seen[string(a.Challenge[:])] {
				later = append(later, i)
				continue
			}
			seen[string(a.Peer.ID[:])], seen[string(a.Challenge[:])] = true, true
			now, places = append(now, &admission{Admission: a}), append(places, i)
		}
		err := s.db.tx(ctx, "admit peers", func(tx pgx.Tx) error { return admissions{tx, now}.run(ctx) })
		for n, a := range now {
			results[places[n]] = batch.Result[peers.AdmissionResult]{Value: a.admitted, Err: cmp.Or(err, a.err)}
		}
		left = later
	}
	return results
}

// admission is one admission of a transaction.
type admission struct {
	peers.Admission
	known    bool
	spent    bool // this transaction has used its challenge up
	admitted peers.AdmissionResult
	err      error
}

func isNew(a *admission) bool             { return !a.known }
func isKnown(a *admission) bool           { return a.known }
func hasInvite(a *admission) bool         { return !a.Open && a.Invite != nil }
func needsInvite(a *admission) bool       { return !a.known && hasInvite(a) }
func needsApproval(a *admission) bool     { return !a.known && !a.Open && a.Invite == nil }
func peerOf(a *admission) []byte          { return a.Peer.ID[:] }
func nameOf(a *admission) string          { return a.Peer.Name }
func prefixOf(a *admission) []byte        { return a.Peer.TokenPrefix[:] }
func hashOf(a *admission) []byte          { return a.Peer.TokenHash[:] }
func peerKey(id ident.PeerID) int64       { return int64(binary.BigEndian.Uint64(id[:])) } // of lockPeer's lock
func challengeOf(a *admission) []byte     { return a.Challenge[:] }
func byChallenge(a, b *admission) int     { return bytes.Compare(a.Challenge[:], b.Challenge[:]) }
func byPeer(a, b *admission) int          { return a.Peer.ID.Compare(b.Peer.ID) }
func challengeExpires(a *admission) int64 { return millis(a.ChallengeExpires) }

// admissions are the admissions of one transaction. An error of one admission
// leaves nothing of it in the database; an error of the database fails all.
type admissions struct {
	tx  pgx.Tx
	all []*admission
}

func (t admissions) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{t.prepare, t.spendApprovals, t.write} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// good returns the admissions without an error so far that pass the test.
func (t admissions) good(test func(*admission) bool) []*admission {
	var good []*admission
	for _, a := range t.all {
		if a.err == nil && test(a) {
			good = append(good, a)
		}
	}
	return good
}

// column returns one value of each admission, for unnest.
func column[T any](all []*admission, value func(*admission) T) []T {
	values := make([]T, len(all))
	for i, a := range all {
		values[i] = value(a)
	}
	return values
}

// prepare locks the peers, uses the challenges up and reads what the later steps
// depend on, in one round trip.
func (t admissions) prepare(ctx context.Context) error {
	var b pgx.Batch
	t.lock(&b)
	t.lookUp(&b)
	t.spendChallenges(&b)
	t.spendInvites(&b)
	return t.tx.SendBatch(ctx, &b).Close()
}

// lock takes lockPeer's lock for all peers, in order, so that two transactions
// cannot deadlock.
func (t admissions) lock(b *pgx.Batch) {
	slices.SortFunc(t.all, byPeer)
	keys := column(t.all, func(a *admission) int64 { return peerKey(a.Peer.ID) })
	slices.Sort(keys)
	b.Queue(`SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) WITH ORDINALITY AS k (key, n) ORDER BY n`,
		keys)
}

// lookUp finds the known and the revoked peers.
func (t admissions) lookUp(b *pgx.Batch) {
	b.Queue(`SELECT EXISTS (SELECT 1 FROM peers WHERE id = u.peer),
			EXISTS (SELECT 1 FROM revocations WHERE peer = u.peer)
		FROM unnest($1::bytea[]) WITH ORDINALITY AS u (peer, n) ORDER BY n`, column(t.all, peerOf),
	).Query(func(rows pgx.Rows) error {
		n := 0
		var known, revoked bool
		_, err := pgx.ForEachRow(rows, []any{&known, &revoked}, func() error {
			if t.all[n].known = known; !known && revoked {
				t.all[n].err = peers.ErrRevoked
			}
			n++
			return nil
		})
		return err
	})
}

// spendChallenges records the challenges as used.
func (t admissions) spendChallenges(b *pgx.Batch) {
	all := slices.SortedFunc(slices.Values(t.all), byChallenge)
	b.Queue(`INSERT INTO challenges (random, expires) SELECT * FROM unnest($1::bytea[], $2::bigint[])
		ON CONFLICT DO NOTHING RETURNING random`, column(all, challengeOf), column(all, challengeExpires),
	).Query(func(rows pgx.Rows) error {
		spent, err := byteSet(rows)
		for _, a := range all {
			if a.spent = spent[string(a.Challenge[:])]; !a.spent && a.err == nil {
				a.err = peers.ErrReplayed
			}
		}
		return err
	})
}

// byteSet returns the only column of rows as a set.
func byteSet(rows pgx.Rows) (map[string]bool, error) {
	set := map[string]bool{}
	var value []byte
	_, err := pgx.ForEachRow(rows, []any{&value}, func() error {
		set[string(value)] = true
		return nil
	})
	return set, err
}

// spendInvites locks the invites and admits as many new peers as each has uses
// left. useInvites writes the uses.
func (t admissions) spendInvites(b *pgx.Batch) {
	shown := column(t.good(hasInvite), func(a *admission) []byte { return a.Invite[:] })
	if len(shown) == 0 {
		return
	}
	b.Queue(`SELECT hash, uses, expires FROM invites WHERE hash = ANY($1::bytea[]) AND NOT revoked
		ORDER BY hash FOR UPDATE`,
		shown).Query(func(rows pgx.Rows) error {
		by := map[string][]*admission{}
		for _, a := range t.good(needsInvite) {
			a.err = peers.ErrInvite // until the invite is found to be valid
			by[string(a.Invite[:])] = append(by[string(a.Invite[:])], a)
		}
		var hash []byte
		var uses *int
		var expires int64
		_, err := pgx.ForEachRow(rows, []any{&hash, &uses, &expires}, func() error {
			count := 0
			for _, a := range by[string(hash)] {
				if expires > millis(a.Now) && (uses == nil || count < *uses) {
					a.err = nil
					count++
				}
			}
			return nil
		})
		return err
	})
}

// spendApprovals uses up the approvals of new peers without an invite.
func (t admissions) spendApprovals(ctx context.Context) error {
	waiting := t.good(needsApproval)
	if len(waiting) == 0 {
		return nil
	}
	rows, err := t.tx.Query(ctx, `DELETE FROM approvals a USING unnest($1::bytea[], $2::bigint[]) AS u (peer, now)
		WHERE a.peer = u.peer AND a.expires > u.now RETURNING a.peer`,
		column(waiting, peerOf), column(waiting, func(a *admission) int64 { return millis(a.Now) }))
	if err != nil {
		return err
	}
	approved, err := byteSet(rows)
	for _, a := range waiting {
		if !approved[string(a.Peer.ID[:])] {
			a.err = peers.ErrInviteNeeded
		}
	}
	return err
}

// write writes the peers and the events of the new ones, and frees the challenges
// of the refused ones, in one round trip.
func (t admissions) write(ctx context.Context) error {
	var b pgx.Batch
	t.renew(&b)
	t.useInvites(&b)
	if created := t.good(isNew); len(created) > 0 {
		t.insert(&b, created)
	}
	var refused [][]byte
	for _, a := range t.all {
		if a.err != nil && a.spent {
			refused = append(refused, a.Challenge[:])
		}
	}
	if len(refused) > 0 {
		b.Queue(`DELETE FROM challenges WHERE random = ANY($1::bytea[])`, refused)
	}
	if b.Len() == 0 {
		return nil
	}
	return t.tx.SendBatch(ctx, &b).Close()
}

// useInvites writes how many peers each invite has admitted.
func (t admissions) useInvites(b *pgx.Batch) {
	used := map[string]int32{}
	for _, a := range t.good(needsInvite) {
		used[string(a.Invite[:])]++
	}
	if len(used) == 0 {
		return
	}
	var hashes [][]byte
	var counts []int32
	for hash, n := range used {
		hashes, counts = append(hashes, []byte(hash)), append(counts, n)
	}
	b.Queue(`UPDATE invites i SET uses = i.uses - u.n, used = i.used + u.n
		FROM unnest($1::bytea[], $2::integer[]) AS u (hash, n)
		WHERE i.hash = u.hash`, hashes, counts)
}

// renew writes the new tokens of known peers.
func (t admissions) renew(b *pgx.Batch) {
	known := t.good(isKnown)
	if len(known) == 0 {
		return
	}
	byID := map[string]*admission{}
	for _, a := range known {
		byID[string(a.Peer.ID[:])] = a
	}
	b.Queue(`UPDATE peers p SET name = CASE WHEN p.named THEN p.name ELSE u.name END,
			version = p.version + (NOT p.named AND p.name <> u.name)::int, token_prefix = u.prefix, token_hash = u.hash
		FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::bytea[]) AS u (id, name, prefix, hash)
		WHERE p.id = u.id RETURNING p.id, p.name`,
		column(known, peerOf), column(known, nameOf), column(known, prefixOf), column(known, hashOf),
	).Query(func(rows pgx.Rows) error {
		var id []byte
		var name string
		_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error {
			byID[string(id)].admitted.Name = name
			return nil
		})
		return err
	})
}

// insert writes new peers and their events.
func (t admissions) insert(b *pgx.Batch, created []*admission) {
	for _, a := range created {
		a.admitted = peers.AdmissionResult{Created: true, Name: a.Peer.Name}
	}
	b.Queue(`INSERT INTO peers (id, public_key, name, created, token_prefix, token_hash)
		SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[])`,
		column(created, peerOf),
		column(created, func(a *admission) []byte { return a.Peer.PublicKey }),
		column(created, nameOf),
		column(created, func(a *admission) int64 { return millis(a.Peer.Created) }),
		column(created, prefixOf),
		column(created, hashOf))
	b.Queue(`INSERT INTO audit (at, kind, actor, peer, source, detail, count)
		SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::integer[])`,
		column(created, func(a *admission) int64 { return millis(a.Event.At) }),
		column(created, func(a *admission) string { return string(a.Event.Kind) }),
		column(created, func(a *admission) string { return a.Event.Actor }),
		column(created, peerOf),
		column(created, func(a *admission) string { return a.Event.Source }),
		column(created, func(a *admission) string { return a.Event.Detail }),
		column(created, func(a *admission) int32 { return int32(a.Event.Count) }))
}
