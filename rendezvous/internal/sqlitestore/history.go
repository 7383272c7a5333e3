package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// AddMinute keeps the figures of a minute.
func (s *Store) AddMinute(ctx context.Context, m registry.Minute) error {
	_, err := s.write.ExecContext(ctx, `INSERT INTO history (at, instance, peers, direct, relayed, relay_bytes, relay_packets, registrations, refusals)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (at, instance) DO UPDATE SET peers = excluded.peers, direct = excluded.direct, relayed = excluded.relayed,
			relay_bytes = relay_bytes + excluded.relay_bytes, relay_packets = relay_packets + excluded.relay_packets,
			registrations = registrations + excluded.registrations, refusals = refusals + excluded.refusals`,
		millis(m.At), m.Instance, m.Peers, m.Pairs.Direct, m.Pairs.Relayed, m.RelayBytes, m.RelayPackets, m.Registrations, m.Refusals)
	return failed("keep the figures of a minute", err)
}

// History returns the minutes of all instances, in steps.
func (s *Store) History(ctx context.Context, from, to time.Time, step time.Duration) ([]registry.Span, error) {
	const what = "read the history"
	rows, err := s.read.QueryContext(ctx, `SELECT ?1 + (at - ?1) / ?3 * ?3 AS step, max(peers), max(direct), max(relayed),
			sum(relay_bytes), sum(relay_packets), sum(registrations), sum(refusals) FROM (
				SELECT at, sum(peers) AS peers, sum(direct) AS direct, sum(relayed) AS relayed, sum(relay_bytes) AS relay_bytes,
					sum(relay_packets) AS relay_packets, sum(registrations) AS registrations, sum(refusals) AS refusals
				FROM history WHERE at >= ?1 AND at < ?2 GROUP BY at
			) GROUP BY step ORDER BY step`, millis(from), millis(to), step.Milliseconds())
	if err != nil {
		return nil, failed(what, err)
	}
	return collect(rows, what, func(rows *sql.Rows) (registry.Span, error) {
		var p registry.Span
		var at int64
		err := rows.Scan(&at, &p.Peers, &p.Pairs.Direct, &p.Pairs.Relayed, &p.RelayBytes, &p.RelayPackets, &p.Registrations, &p.Refusals)
		p.At = moment(at)
		return p, err
	})
}

// LastMinutes returns the newest minute of each instance.
func (s *Store) LastMinutes(ctx context.Context, since time.Time) (map[string]registry.Minute, error) {
	const what = "read the last minutes"
	rows, err := s.read.QueryContext(ctx, `SELECT max(at), instance, peers, direct, relayed, relay_bytes, relay_packets, registrations, refusals
		FROM history WHERE at >= ? GROUP BY instance`, millis(since))
	if err != nil {
		return nil, failed(what, err)
	}
	last := map[string]registry.Minute{}
	_, err = collect(rows, what, func(rows *sql.Rows) (struct{}, error) {
		var m registry.Minute
		var at int64
		err := rows.Scan(&at, &m.Instance, &m.Peers, &m.Pairs.Direct, &m.Pairs.Relayed, &m.RelayBytes, &m.RelayPackets, &m.Registrations, &m.Refusals)
		m.At = moment(at)
		last[m.Instance] = m
		return struct{}{}, err
	})
	return last, err
}

// AddRelayUse adds to what peers have relayed on a day.
func (s *Store) AddRelayUse(ctx context.Context, day registry.Day, uses []registry.RelayUse) error {
	const what = "keep what peers relayed"
	if len(uses) > registry.MaxBatch {
		return fmt.Errorf("%s: %d at once, at most %d", what, len(uses), registry.MaxBatch)
	}
	return s.tx(ctx, what, func(tx *transaction) error {
		for _, u := range uses {
			_, err := tx.ExecContext(ctx, `INSERT INTO relay_use (day, peer, sent_bytes, sent_packets, received_bytes, received_packets) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT (day, peer) DO UPDATE SET sent_bytes = sent_bytes + excluded.sent_bytes, sent_packets = sent_packets + excluded.sent_packets,
					received_bytes = received_bytes + excluded.received_bytes, received_packets = received_packets + excluded.received_packets`,
				day, u.Peer[:], u.SentBytes, u.SentPackets, u.ReceivedBytes, u.ReceivedPackets)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// RelayUse returns who relayed most.
func (s *Store) RelayUse(ctx context.Context, q registry.RelayQuery) ([]registry.RelayUse, error) {
	const what = "read what peers relayed"
	rows, err := s.read.QueryContext(ctx, `SELECT u.peer, coalesce(p.name, ''), u.sent_bytes, u.sent_packets, u.received_bytes, u.received_packets FROM (
			SELECT peer, sum(sent_bytes) AS sent_bytes, sum(sent_packets) AS sent_packets, sum(received_bytes) AS received_bytes, sum(received_packets) AS received_packets
			FROM relay_use WHERE day >= ? GROUP BY peer
		) u LEFT JOIN peers p ON p.id = u.peer ORDER BY u.sent_bytes + u.received_bytes DESC, u.peer LIMIT ?`, q.Since, q.Limit)
	if err != nil {
		return nil, failed(what, err)
	}
	return collect(rows, what, func(rows *sql.Rows) (registry.RelayUse, error) {
		var u registry.RelayUse
		var peer []byte
		err := rows.Scan(&peer, &u.Name, &u.SentBytes, &u.SentPackets, &u.ReceivedBytes, &u.ReceivedPackets)
		copy(u.Peer[:], peer)
		return u, err
	})
}

// RelayDays returns what was relayed on each day.
func (s *Store) RelayDays(ctx context.Context, since registry.Day, peer ident.PeerID) ([]registry.RelayDay, error) {
	const what = "read what was relayed"
	query, args := `SELECT day, sum(sent_bytes), sum(sent_packets), sum(received_bytes), sum(received_packets) FROM relay_use WHERE day >= ?`, []any{since}
	if !peer.IsZero() {
		query += ` AND peer = ?`
		args = append(args, peer[:])
	}
	rows, err := s.read.QueryContext(ctx, query+` GROUP BY day ORDER BY day`, args...)
	if err != nil {
		return nil, failed(what, err)
	}
	return collect(rows, what, func(rows *sql.Rows) (registry.RelayDay, error) {
		var d registry.RelayDay
		err := rows.Scan(&d.Day, &d.SentBytes, &d.SentPackets, &d.ReceivedBytes, &d.ReceivedPackets)
		return d, err
	})
}
