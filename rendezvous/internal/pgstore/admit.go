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
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Registrations that come at the same time are one transaction: with one each,
// those with the same invite would wait for its row, and for each other's commit
// to reach the disk.
const (
	mostAdmitted = 256
	admitWait    = 10 * time.Second
)

// Admit registers or renews a peer.
func (s *Store) Admit(ctx context.Context, a registry.Admission) (registry.Admitted, error) {
	return s.admits.Ask(ctx, a)
}

// admitting is one admission of a transaction.
type admitting struct {
	registry.Admission
	known    bool
	spent    bool // its challenge, in this transaction
	admitted registry.Admitted
	err      error
}

// admit admits many, in as many transactions as it takes for each to have every
// peer and every challenge once.
func (s *Store) admit(ctx context.Context, all []registry.Admission) []batch.Answer[registry.Admitted] {
	answers := make([]batch.Answer[registry.Admitted], len(all))
	left := make([]int, len(all))
	for i := range all {
		left[i] = i
	}
	for len(left) > 0 {
		var now []*admitting
		var places, later []int
		seen := map[string]bool{}
		for _, i := range left {
			a := all[i]
			if seen[string(a.Peer.ID[:])] || seen[string(a.Challenge[:])] {
				later = append(later, i)
				continue
			}
			seen[string(a.Peer.ID[:])], seen[string(a.Challenge[:])] = true, true
			now, places = append(now, &admitting{Admission: a}), append(places, i)
		}
		err := s.tx(ctx, "admit peers", func(tx pgx.Tx) error { return admissions{tx, now}.run(ctx) })
		for n, a := range now {
			answers[places[n]] = batch.Answer[registry.Admitted]{Value: a.admitted, Err: cmp.Or(err, a.err)}
		}
		left = later
	}
	return answers
}

// admissions are those of one transaction. What is wrong with one is its own
// error, and leaves nothing of it behind; an error of the database is everyone's.
type admissions struct {
	tx  pgx.Tx
	all []*admitting
}

func (t admissions) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{t.look, t.spendApprovals, t.write} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// good are those with which nothing is wrong so far, that pass the test.
func (t admissions) good(test func(*admitting) bool) []*admitting {
	var good []*admitting
	for _, a := range t.all {
		if a.err == nil && test(a) {
			good = append(good, a)
		}
	}
	return good
}

func isNew(a *admitting) bool       { return !a.known }
func isKnown(a *admitting) bool     { return a.known }
func showsInvite(a *admitting) bool { return !a.Open && a.Invite != nil }
func isInvited(a *admitting) bool   { return !a.known && showsInvite(a) }
func isPlain(a *admitting) bool     { return !a.known && !a.Open && a.Invite == nil }

// column is one value of each, for unnest.
func column[T any](all []*admitting, value func(*admitting) T) []T {
	values := make([]T, len(all))
	for i, a := range all {
		values[i] = value(a)
	}
	return values
}

func peerOf(a *admitting) []byte { return a.Peer.ID[:] }

// look locks the peers, spends the challenges and reads what the rest depends
// on, in one round trip.
func (t admissions) look(ctx context.Context) error {
	var b pgx.Batch
	t.lock(&b)
	t.lookUp(&b)
	t.spendChallenges(&b)
	t.spendInvites(&b)
	return t.tx.SendBatch(ctx, &b).Close()
}

// lock is lockPeer for all of them, in order, so that two transactions cannot
// wait for each other.
func (t admissions) lock(b *pgx.Batch) {
	slices.SortFunc(t.all, func(a, b *admitting) int { return a.Peer.ID.Compare(b.Peer.ID) })
	keys := column(t.all, func(a *admitting) int64 { return peerKey(a.Peer.ID) })
	slices.Sort(keys)
	b.Queue(`SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) WITH ORDINALITY AS k (key, n) ORDER BY n`, keys)
}

// lookUp finds out who is known and who is revoked.
func (t admissions) lookUp(b *pgx.Batch) {
	b.Queue(`SELECT EXISTS (SELECT 1 FROM peers WHERE id = u.peer), EXISTS (SELECT 1 FROM revocations WHERE peer = u.peer)
		FROM unnest($1::bytea[]) WITH ORDINALITY AS u (peer, n) ORDER BY n`, column(t.all, peerOf),
	).Query(func(rows pgx.Rows) error {
		n := 0
		var known, revoked bool
		_, err := pgx.ForEachRow(rows, []any{&known, &revoked}, func() error {
			if t.all[n].known = known; !known && revoked {
				t.all[n].err = registry.ErrRevoked
			}
			n++
			return nil
		})
		return err
	})
}

// spendChallenges keeps the challenges as used, each once.
func (t admissions) spendChallenges(b *pgx.Batch) {
	all := slices.SortedFunc(slices.Values(t.all), func(a, b *admitting) int { return bytes.Compare(a.Challenge[:], b.Challenge[:]) })
	b.Queue(`INSERT INTO challenges (random, expires) SELECT * FROM unnest($1::bytea[], $2::bigint[]) ON CONFLICT DO NOTHING RETURNING random`,
		column(all, func(a *admitting) []byte { return a.Challenge[:] }), column(all, func(a *admitting) int64 { return millis(a.ChallengeExpires) }),
	).Query(func(rows pgx.Rows) error {
		spent := map[string]bool{}
		var random []byte
		_, err := pgx.ForEachRow(rows, []any{&random}, func() error {
			spent[string(random)] = true
			return nil
		})
		for _, a := range all {
			if a.spent = spent[string(a.Challenge[:])]; !a.spent && a.err == nil {
				a.err = registry.ErrReplayed
			}
		}
		return err
	})
}

// spendInvites locks the invites and lets in as many new peers as they are good
// for. What is used of them write writes.
func (t admissions) spendInvites(b *pgx.Batch) {
	shown := column(t.good(showsInvite), func(a *admitting) []byte { return a.Invite[:] })
	if len(shown) == 0 {
		return
	}
	b.Queue(`SELECT hash, uses, expires FROM invites WHERE hash = ANY($1::bytea[]) AND NOT revoked ORDER BY hash FOR UPDATE`, shown).Query(func(rows pgx.Rows) error {
		by := map[string][]*admitting{}
		for _, a := range t.good(isInvited) {
			a.err = registry.ErrInvite // until it is let in
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

// spendApprovals lets new peers in without an invite that were approved.
func (t admissions) spendApprovals(ctx context.Context) error {
	plain := t.good(isPlain)
	if len(plain) == 0 {
		return nil
	}
	rows, err := t.tx.Query(ctx, `DELETE FROM approvals a USING unnest($1::bytea[], $2::bigint[]) AS u (peer, now)
		WHERE a.peer = u.peer AND a.expires > u.now RETURNING a.peer`,
		column(plain, peerOf), column(plain, func(a *admitting) int64 { return millis(a.Now) }))
	if err != nil {
		return err
	}
	approved := map[string]bool{}
	var peer []byte
	_, err = pgx.ForEachRow(rows, []any{&peer}, func() error {
		approved[string(peer)] = true
		return nil
	})
	for _, a := range plain {
		if !approved[string(a.Peer.ID[:])] {
			a.err = registry.ErrInviteNeeded
		}
	}
	return err
}

// write keeps the peers and the events of the new ones, and gives back the
// challenges of those who were refused. It is one round trip.
func (t admissions) write(ctx context.Context) error {
	var b pgx.Batch
	t.renew(&b)
	t.useInvites(&b)
	if fresh := t.good(isNew); len(fresh) > 0 {
		t.insert(&b, fresh)
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

// useInvites counts what was let in with each invite.
func (t admissions) useInvites(b *pgx.Batch) {
	used := map[string]int32{}
	for _, a := range t.good(isInvited) {
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
	b.Queue(`UPDATE invites i SET uses = i.uses - u.n, used = i.used + u.n FROM unnest($1::bytea[], $2::integer[]) AS u (hash, n)
		WHERE i.hash = u.hash`, hashes, counts)
}

// renew gives known peers their new tokens.
func (t admissions) renew(b *pgx.Batch) {
	known := t.good(isKnown)
	if len(known) == 0 {
		return
	}
	byID := map[string]*admitting{}
	for _, a := range known {
		byID[string(a.Peer.ID[:])] = a
	}
	b.Queue(`UPDATE peers p SET name = CASE WHEN p.named THEN p.name ELSE u.name END, version = p.version + (NOT p.named AND p.name <> u.name)::int,
			token_prefix = u.prefix, token_hash = u.hash
		FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::bytea[]) AS u (id, name, prefix, hash) WHERE p.id = u.id RETURNING p.id, p.name`,
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

func nameOf(a *admitting) string   { return a.Peer.Name }
func prefixOf(a *admitting) []byte { return a.Peer.TokenPrefix[:] }
func hashOf(a *admitting) []byte   { return a.Peer.TokenHash[:] }

// insert keeps new peers, and tells of them in the audit log.
func (t admissions) insert(b *pgx.Batch, fresh []*admitting) {
	for _, a := range fresh {
		a.admitted = registry.Admitted{Created: true, Name: a.Peer.Name}
	}
	b.Queue(`INSERT INTO peers (id, public_key, name, created, token_prefix, token_hash)
		SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[])`,
		column(fresh, peerOf), column(fresh, func(a *admitting) []byte { return a.Peer.PublicKey }), column(fresh, nameOf),
		column(fresh, func(a *admitting) int64 { return millis(a.Peer.Created) }), column(fresh, prefixOf), column(fresh, hashOf))
	b.Queue(`INSERT INTO audit (at, kind, actor, peer, source, detail, count)
		SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::integer[])`,
		column(fresh, func(a *admitting) int64 { return millis(a.Event.At) }), column(fresh, func(a *admitting) string { return string(a.Event.Kind) }),
		column(fresh, func(a *admitting) string { return a.Event.Actor }), column(fresh, peerOf),
		column(fresh, func(a *admitting) string { return a.Event.Source }), column(fresh, func(a *admitting) string { return a.Event.Detail }),
		column(fresh, func(a *admitting) int32 { return int32(a.Event.Count) }))
}

// peerKey is the key of lockPeer's lock.
func peerKey(id ident.PeerID) int64 { return int64(binary.BigEndian.Uint64(id[:])) }
