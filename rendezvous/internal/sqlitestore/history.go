package sqlitestore

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
)

// AddMinute keeps the figures of a minute.
func (s History) AddMinute(ctx context.Context, m history.Minute) error {
	return s.db.exec(ctx, statement{what: "keep the figures of a minute", sql: `INSERT INTO history
			(at, instance, peers, direct, relayed, relay_bytes, relay_packets, registrations, refusals)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (at, instance) DO UPDATE SET peers = excluded.peers, direct = excluded.direct,
			relayed = excluded.relayed, relay_bytes = relay_bytes + excluded.relay_bytes,
			relay_packets = relay_packets + excluded.relay_packets,
			registrations = registrations + excluded.registrations, refusals = refusals + excluded.refusals`},
		millis(m.At), m.Instance, m.Peers, m.Pairs.Direct, m.Pairs.Relayed,
		m.RelayBytes, m.RelayPackets, m.Registrations, m.Refusals)
}

// History returns the figures of all instances, in steps.
func (s History) History(ctx context.Context, from, to time.Time, step time.Duration) ([]history.Span, error) {
	return collect(ctx, s.db, query{"read the history", `SELECT
			?1 + (at - ?1) / ?3 * ?3 AS step, max(peers), max(direct), max(relayed),
			sum(relay_bytes), sum(relay_packets), sum(registrations), sum(refusals) FROM (
				SELECT at, sum(peers) AS peers, sum(direct) AS direct, sum(relayed) AS relayed,
					sum(relay_bytes) AS relay_bytes, sum(relay_packets) AS relay_packets,
					sum(registrations) AS registrations, sum(refusals) AS refusals
				FROM history WHERE at >= ?1 AND at < ?2 GROUP BY at
			) GROUP BY step ORDER BY step`, []any{millis(from), millis(to), step.Milliseconds()}},
		func(row scanner) (history.Span, error) {
			var p history.Span
			var at int64
			err := row.Scan(&at, &p.Peers, &p.Pairs.Direct, &p.Pairs.Relayed,
				&p.RelayBytes, &p.RelayPackets, &p.Registrations, &p.Refusals)
			p.At = moment(at)
			return p, err
		})
}

// LastMinutes returns the newest minute of each instance. In SQLite the columns
// next to max are those of the row with the maximum.
func (s History) LastMinutes(ctx context.Context, since time.Time) (map[string]history.Minute, error) {
	last := map[string]history.Minute{}
	err := each(ctx, s.db, query{"read the last minutes", `SELECT
			max(at), instance, peers, direct, relayed, relay_bytes, relay_packets, registrations, refusals
		FROM history WHERE at >= ? GROUP BY instance`, []any{millis(since)}},
		func(row scanner) error {
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

// AddRelayUse adds to the relayed bytes of peers on a day.
func (s History) AddRelayUse(ctx context.Context, day history.Day, uses []history.RelayUse) error {
	const what = "keep what peers relayed"
	if err := checkBatch(what, len(uses)); err != nil {
		return err
	}
	return s.db.tx(ctx, what, func(tx *transaction) error {
		for _, u := range uses {
			_, err := tx.ExecContext(ctx, `INSERT INTO relay_use
					(day, peer, sent_bytes, sent_packets, received_bytes, received_packets) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT (day, peer) DO UPDATE SET
					sent_bytes = sent_bytes + excluded.sent_bytes, sent_packets = sent_packets + excluded.sent_packets,
					received_bytes = received_bytes + excluded.received_bytes,
					received_packets = received_packets + excluded.received_packets`,
				day, u.Peer[:], u.SentBytes, u.SentPackets, u.ReceivedBytes, u.ReceivedPackets)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// RelayUse returns the peers that relayed most.
func (s History) RelayUse(ctx context.Context, q history.RelayQuery) ([]history.RelayUse, error) {
	return collect(ctx, s.db, query{
		"read what peers relayed", `SELECT
			u.peer, coalesce(p.name, ''), u.sent_bytes, u.sent_packets, u.received_bytes, u.received_packets FROM (
			SELECT peer, sum(sent_bytes) AS sent_bytes, sum(sent_packets) AS sent_packets,
				sum(received_bytes) AS received_bytes, sum(received_packets) AS received_packets
			FROM relay_use WHERE day >= ? GROUP BY peer
		) u LEFT JOIN peers p ON p.id = u.peer ORDER BY u.sent_bytes + u.received_bytes DESC, u.peer LIMIT ?`,
		[]any{q.Since, q.Limit},
	},
		func(row scanner) (history.RelayUse, error) {
			var u history.RelayUse
			var peer []byte
			err := row.Scan(&peer, &u.Name, &u.SentBytes, &u.SentPackets, &u.ReceivedBytes, &u.ReceivedPackets)
			copy(u.Peer[:], peer)
			return u, err
		})
}

// RelayDays returns the relayed bytes of each day.
func (s History) RelayDays(ctx context.Context, since history.Day, peer ident.PeerID) ([]history.RelayDay, error) {
	sql := `SELECT day, sum(sent_bytes), sum(sent_packets), sum(received_bytes), sum(received_packets)
		FROM relay_use WHERE day >= ?`
	args := []any{since}
	if !peer.IsZero() {
		sql += ` AND peer = ?`
		args = append(args, peer[:])
	}
	return collect(ctx, s.db, query{"read what was relayed", sql + ` GROUP BY day ORDER BY day`, args},
		func(row scanner) (history.RelayDay, error) {
			var d history.RelayDay
			err := row.Scan(&d.Day, &d.SentBytes, &d.SentPackets, &d.ReceivedBytes, &d.ReceivedPackets)
			return d, err
		})
}
