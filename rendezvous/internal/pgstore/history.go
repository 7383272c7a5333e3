package pgstore

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
)

// AddMinute keeps the figures of a minute.
func (s History) AddMinute(ctx context.Context, m history.Minute) error {
	return s.db.exec(ctx, statement{what: "keep the figures of a minute", sql: `INSERT INTO history AS h
			(at, instance, peers, direct, relayed, relay_bytes, relay_packets, registrations, refusals)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (at, instance) DO UPDATE SET peers = excluded.peers, direct = excluded.direct,
			relayed = excluded.relayed, relay_bytes = h.relay_bytes + excluded.relay_bytes,
			relay_packets = h.relay_packets + excluded.relay_packets,
			registrations = h.registrations + excluded.registrations, refusals = h.refusals + excluded.refusals`},
		millis(m.At), m.Instance, m.Peers, m.Pairs.Direct, m.Pairs.Relayed,
		m.RelayBytes, m.RelayPackets, m.Registrations, m.Refusals)
}

// History returns the figures of all instances, in steps.
func (s History) History(ctx context.Context, from, to time.Time, step time.Duration) ([]history.Span, error) {
	return collect(ctx, s.db, query{"read the history", `SELECT
			$1::bigint + (at - $1) / $3::bigint * $3 AS step, max(peers)::bigint, max(direct)::bigint,
			max(relayed)::bigint, sum(relay_bytes)::bigint, sum(relay_packets)::bigint,
			sum(registrations)::bigint, sum(refusals)::bigint FROM (
				SELECT at, sum(peers) AS peers, sum(direct) AS direct, sum(relayed) AS relayed,
					sum(relay_bytes) AS relay_bytes, sum(relay_packets) AS relay_packets,
					sum(registrations) AS registrations, sum(refusals) AS refusals
				FROM history WHERE at >= $1 AND at < $2 GROUP BY at
			) m GROUP BY step ORDER BY step`, []any{millis(from), millis(to), step.Milliseconds()}},
		func(row pgx.CollectableRow) (history.Span, error) {
			var p history.Span
			var at int64
			err := row.Scan(&at, &p.Peers, &p.Pairs.Direct, &p.Pairs.Relayed,
				&p.RelayBytes, &p.RelayPackets, &p.Registrations, &p.Refusals)
			p.At = moment(at)
			return p, err
		})
}

// LastMinutes returns the newest minute of each instance.
func (s History) LastMinutes(ctx context.Context, since time.Time) (map[string]history.Minute, error) {
	last := map[string]history.Minute{}
	err := each(ctx, s.db, query{"read the last minutes", `SELECT DISTINCT ON (instance)
			at, instance, peers, direct, relayed, relay_bytes, relay_packets, registrations, refusals
		FROM history WHERE at >= $1 ORDER BY instance, at DESC`, []any{millis(since)}},
		func(row pgx.CollectableRow) error {
			var m history.Minute
			var at int64
			err := row.Scan(&at, &m.Instance, &m.Peers, &m.Pairs.Direct, &m.Pairs.Relayed,
				&m.RelayBytes, &m.RelayPackets, &m.Registrations, &m.Refusals)
			m.At = moment(at)
			last[m.Instance] = m
			return err
		})
	return last, err
}

// AddRelayUse adds to the relayed bytes of peers on a day. It writes the rows in
// order, so that two instances cannot deadlock.
func (s History) AddRelayUse(ctx context.Context, day history.Day, uses []history.RelayUse) error {
	const what = "keep what peers relayed"
	if err := checkBatch(what, len(uses)); err != nil {
		return err
	}
	sorted := slices.Clone(uses)
	slices.SortFunc(sorted, func(a, b history.RelayUse) int { return a.Peer.Compare(b.Peer) })
	var peers [][]byte
	var sentBytes, sentPackets, receivedBytes, receivedPackets []int64
	for i := range sorted {
		u := &sorted[i]
		peers = append(peers, u.Peer[:])
		sentBytes, sentPackets = append(sentBytes, u.SentBytes), append(sentPackets, u.SentPackets)
		receivedBytes = append(receivedBytes, u.ReceivedBytes)
		receivedPackets = append(receivedPackets, u.ReceivedPackets)
	}
	return s.db.exec(ctx, statement{what: what, sql: `INSERT INTO relay_use AS r
			(day, peer, sent_bytes, sent_packets, received_bytes, received_packets)
		SELECT $1, u.* FROM unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) AS u
		ON CONFLICT (day, peer) DO UPDATE SET
			sent_bytes = r.sent_bytes + excluded.sent_bytes, sent_packets = r.sent_packets + excluded.sent_packets,
			received_bytes = r.received_bytes + excluded.received_bytes,
			received_packets = r.received_packets + excluded.received_packets`},
		int64(day), peers, sentBytes, sentPackets, receivedBytes, receivedPackets)
}

// RelayUse returns the peers that relayed most.
func (s History) RelayUse(ctx context.Context, q history.RelayQuery) ([]history.RelayUse, error) {
	return collect(ctx, s.db, query{
		"read what peers relayed", `SELECT
			u.peer, coalesce(p.name, ''), u.sent_bytes, u.sent_packets, u.received_bytes, u.received_packets FROM (
			SELECT peer, sum(sent_bytes)::bigint AS sent_bytes, sum(sent_packets)::bigint AS sent_packets,
				sum(received_bytes)::bigint AS received_bytes, sum(received_packets)::bigint AS received_packets
			FROM relay_use WHERE day >= $1 GROUP BY peer
		) u LEFT JOIN peers p ON p.id = u.peer ORDER BY u.sent_bytes + u.received_bytes DESC, u.peer LIMIT $2`,
		[]any{int64(q.Since), q.Limit},
	},
		func(row pgx.CollectableRow) (history.RelayUse, error) {
			var u history.RelayUse
			var peer []byte
			err := row.Scan(&peer, &u.Name, &u.SentBytes, &u.SentPackets, &u.ReceivedBytes, &u.ReceivedPackets)
			copy(u.Peer[:], peer)
			return u, err
		})
}

// RelayDays returns the relayed bytes of each day.
func (s History) RelayDays(ctx context.Context, since history.Day, peer ident.PeerID) ([]history.RelayDay, error) {
	sql := `SELECT day, sum(sent_bytes)::bigint, sum(sent_packets)::bigint,
		sum(received_bytes)::bigint, sum(received_packets)::bigint FROM relay_use WHERE day >= $1`
	args := []any{int64(since)}
	if !peer.IsZero() {
		sql += ` AND peer = $2`
		args = append(args, peer[:])
	}
	return collect(ctx, s.db, query{"read what was relayed", sql + ` GROUP BY day ORDER BY day`, args},
		func(row pgx.CollectableRow) (history.RelayDay, error) {
			var d history.RelayDay
			var day int64
			err := row.Scan(&day, &d.SentBytes, &d.SentPackets, &d.ReceivedBytes, &d.ReceivedPackets)
			d.Day = history.Day(day)
			return d, err
		})
}
