package pgstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// AddMinute keeps the figures of a minute.
func (s *Store) AddMinute(ctx context.Context, m registry.Minute) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO history AS h (at, instance, peers, direct, relayed, relay_bytes, relay_packets, registrations, refusals)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (at, instance) DO UPDATE SET peers = excluded.peers, direct = excluded.direct, relayed = excluded.relayed,
			relay_bytes = h.relay_bytes + excluded.relay_bytes, relay_packets = h.relay_packets + excluded.relay_packets,
			registrations = h.registrations + excluded.registrations, refusals = h.refusals + excluded.refusals`,
		millis(m.At), m.Instance, m.Peers, m.Pairs.Direct, m.Pairs.Relayed, m.RelayBytes, m.RelayPackets, m.Registrations, m.Refusals)
	return s.failed("keep the figures of a minute", err)
}

// History returns the minutes of all instances, in steps.
func (s *Store) History(ctx context.Context, from, to time.Time, step time.Duration) ([]registry.Span, error) {
	return collect(ctx, s, "read the history", func(row pgx.CollectableRow) (registry.Span, error) {
		var p registry.Span
		var at int64
		err := row.Scan(&at, &p.Peers, &p.Pairs.Direct, &p.Pairs.Relayed, &p.RelayBytes, &p.RelayPackets, &p.Registrations, &p.Refusals)
		p.At = moment(at)
		return p, err
	}, `SELECT $1::bigint + (at - $1) / $3::bigint * $3 AS step, max(peers)::bigint, max(direct)::bigint, max(relayed)::bigint,
			sum(relay_bytes)::bigint, sum(relay_packets)::bigint, sum(registrations)::bigint, sum(refusals)::bigint FROM (
				SELECT at, sum(peers) AS peers, sum(direct) AS direct, sum(relayed) AS relayed, sum(relay_bytes) AS relay_bytes,
					sum(relay_packets) AS relay_packets, sum(registrations) AS registrations, sum(refusals) AS refusals
				FROM history WHERE at >= $1 AND at < $2 GROUP BY at
			) m GROUP BY step ORDER BY step`, millis(from), millis(to), step.Milliseconds())
}

// LastMinutes returns the newest minute of each instance.
func (s *Store) LastMinutes(ctx context.Context, since time.Time) (map[string]registry.Minute, error) {
	last := map[string]registry.Minute{}
	_, err := collect(ctx, s, "read the last minutes", func(row pgx.CollectableRow) (struct{}, error) {
		var m registry.Minute
		var at int64
		err := row.Scan(&at, &m.Instance, &m.Peers, &m.Pairs.Direct, &m.Pairs.Relayed, &m.RelayBytes, &m.RelayPackets, &m.Registrations, &m.Refusals)
		m.At = moment(at)
		last[m.Instance] = m
		return struct{}{}, err
	}, `SELECT DISTINCT ON (instance) at, instance, peers, direct, relayed, relay_bytes, relay_packets, registrations, refusals
		FROM history WHERE at >= $1 ORDER BY instance, at DESC`, millis(since))
	return last, err
}

// AddRelayUse adds to what peers have relayed on a day.
func (s *Store) AddRelayUse(ctx context.Context, day registry.Day, uses []registry.RelayUse) error {
	const what = "keep what peers relayed"
	if len(uses) > registry.MaxBatch {
		return fmt.Errorf("%s: %d at once, at most %d", what, len(uses), registry.MaxBatch)
	}
	sorted := slices.Clone(uses) // in order, so that two instances cannot deadlock
	slices.SortFunc(sorted, func(a, b registry.RelayUse) int { return a.Peer.Compare(b.Peer) })
	var peers [][]byte
	var sentBytes, sentPackets, receivedBytes, receivedPackets []int64
	for i := range sorted {
		u := &sorted[i]
		peers = append(peers, u.Peer[:])
		sentBytes, sentPackets = append(sentBytes, u.SentBytes), append(sentPackets, u.SentPackets)
		receivedBytes, receivedPackets = append(receivedBytes, u.ReceivedBytes), append(receivedPackets, u.ReceivedPackets)
	}
	_, err := s.pool.Exec(ctx, `INSERT INTO relay_use AS r (day, peer, sent_bytes, sent_packets, received_bytes, received_packets)
		SELECT $1, u.* FROM unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) AS u
		ON CONFLICT (day, peer) DO UPDATE SET sent_bytes = r.sent_bytes + excluded.sent_bytes, sent_packets = r.sent_packets + excluded.sent_packets,
			received_bytes = r.received_bytes + excluded.received_bytes, received_packets = r.received_packets + excluded.received_packets`,
		int64(day), peers, sentBytes, sentPackets, receivedBytes, receivedPackets)
	return s.failed(what, err)
}

// RelayUse returns who relayed most.
func (s *Store) RelayUse(ctx context.Context, q registry.RelayQuery) ([]registry.RelayUse, error) {
	return collect(ctx, s, "read what peers relayed", func(row pgx.CollectableRow) (registry.RelayUse, error) {
		var u registry.RelayUse
		var peer []byte
		err := row.Scan(&peer, &u.Name, &u.SentBytes, &u.SentPackets, &u.ReceivedBytes, &u.ReceivedPackets)
		copy(u.Peer[:], peer)
		return u, err
	}, `SELECT u.peer, coalesce(p.name, ''), u.sent_bytes, u.sent_packets, u.received_bytes, u.received_packets FROM (
			SELECT peer, sum(sent_bytes)::bigint AS sent_bytes, sum(sent_packets)::bigint AS sent_packets,
				sum(received_bytes)::bigint AS received_bytes, sum(received_packets)::bigint AS received_packets
			FROM relay_use WHERE day >= $1 GROUP BY peer
		) u LEFT JOIN peers p ON p.id = u.peer ORDER BY u.sent_bytes + u.received_bytes DESC, u.peer LIMIT $2`, int64(q.Since), q.Limit)
}

// RelayDays returns what was relayed on each day.
func (s *Store) RelayDays(ctx context.Context, since registry.Day, peer ident.PeerID) ([]registry.RelayDay, error) {
	query := `SELECT day, sum(sent_bytes)::bigint, sum(sent_packets)::bigint, sum(received_bytes)::bigint, sum(received_packets)::bigint FROM relay_use WHERE day >= $1`
	args := []any{int64(since)}
	if !peer.IsZero() {
		query += ` AND peer = $2`
		args = append(args, peer[:])
	}
	return collect(ctx, s, "read what was relayed", func(row pgx.CollectableRow) (registry.RelayDay, error) {
		var d registry.RelayDay
		var day int64
		err := row.Scan(&day, &d.SentBytes, &d.SentPackets, &d.ReceivedBytes, &d.ReceivedPackets)
		d.Day = registry.Day(day)
		return d, err
	}, query+` GROUP BY day ORDER BY day`, args...)
}
