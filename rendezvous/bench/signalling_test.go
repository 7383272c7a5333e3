//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
)

// messageBytes is the size of an offer with a few candidates in its envelope.
const messageBytes = 416

// talk holds the results of messages at one rate in one way, of all rounds.
type talk struct {
	way       string
	offered   int // messages per second
	sent      []float64
	delivered swarm.Latencies
	lost      int
}

// signalling measures messages between peers of one instance and of two instances, and
// for comparison NOTIFY on the same Postgres.
func (b *bench) signalling() {
	both := b.cluster(2)
	s := b.swarm(both...)
	peers := b.peers(s, b.talkers)
	first, second := peers[:len(peers)/2], peers[len(peers)/2:]
	s.Bind(first, 0)
	s.Bind(second, 1)
	b.online(s, peers)
	quarter := len(first) / 2
	same := swarm.Pairs(first, quarter)
	var across []swarm.Pair
	for i := range quarter {
		across = append(across, swarm.Pair{From: first[i], To: second[i]})
	}
	for _, pairs := range [][]swarm.Pair{same, across} {
		if err := s.Allow(b.Context(), pairs, b.conns); err != nil {
			b.Fatal(err)
		}
	}
	notify := b.notifier()
	talks := map[string]*talk{}
	for range b.rounds {
		for _, rate := range b.rates {
			for way, pairs := range map[string][]swarm.Pair{"one instance": same, "two instances": across} {
				b.round(talks, way, rate, func(l swarm.Load) (swarm.Messages, error) {
					return s.Send(b.Context(), pairs, l)
				})
			}
			b.round(talks, "NOTIFY", rate, func(l swarm.Load) (swarm.Messages, error) {
				return notify.send(b.Context(), l)
			})
		}
	}
	b.whole(s, len(peers))
	for _, rate := range b.rates {
		for _, way := range []string{"one instance", "two instances", "NOTIFY"} {
			b.report.talks = append(b.report.talks, *talks[way+strconv.Itoa(rate)])
		}
	}
	b.report.listeners = b.listeners
}

// round sends messages at a rate and adds the result to talks.
func (b *bench) round(talks map[string]*talk, way string, rate int, send func(swarm.Load) (swarm.Messages, error)) {
	b.Helper()
	t := talks[way+strconv.Itoa(rate)]
	if t == nil {
		t = &talk{way: way, offered: rate}
		talks[way+strconv.Itoa(rate)] = t
	}
	m, err := send(swarm.Load{PerSecond: rate, During: b.scale.talk, Bytes: messageBytes})
	if err != nil {
		b.Fatal(err)
	}
	t.sent = append(t.sent, float64(m.Offered)/m.Took.Seconds())
	t.delivered = append(t.delivered, m.Delivered...)
	missing := m.Offered - len(m.Delivered)
	t.lost += missing
	if missing > 0 || m.Unwritten > 0 || len(m.Failed) > 0 {
		b.Errorf("%s at %d/s: of %d messages %d were not delivered, %d not written, failed: %v",
			way, rate, m.Offered, missing, m.Unwritten, m.Failed)
	}
}

// notifier sends messages by NOTIFY of Postgres.
type notifier struct {
	listeners []*pgx.Conn
	senders   []*pgx.Conn
	arrived   chan arrival
}

type arrival struct {
	payload string
	at      time.Time
}

const notifySenders = 8

// notifier connects the senders, and the listeners, each to a channel of its own.
func (b *bench) notifier() *notifier {
	b.Helper()
	url := b.postgres.Fresh(b)
	n := &notifier{arrived: make(chan arrival, 1<<16)}
	ctx, cancel := context.WithCancel(context.Background())
	var listening sync.WaitGroup
	b.Cleanup(func() {
		cancel()
		listening.Wait()
		for _, c := range append(n.listeners, n.senders...) {
			c.Close(context.Background())
		}
	})
	for i := range b.listeners + notifySenders {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			b.Fatal(err)
		}
		if i >= b.listeners {
			n.senders = append(n.senders, conn)
			continue
		}
		n.listeners = append(n.listeners, conn)
		if _, err := conn.Exec(ctx, fmt.Sprintf("LISTEN instance%d", i)); err != nil {
			b.Fatal(err)
		}
		listening.Go(func() {
			for {
				got, err := conn.WaitForNotification(ctx)
				if err != nil {
					return
				}
				n.arrived <- arrival{got.Payload, time.Now()}
			}
		})
	}
	return n
}

// send sends notifications at a rate, or as fast as the senders can, and waits until
// all have arrived.
func (n *notifier) send(ctx context.Context, l swarm.Load) (swarm.Messages, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*l.During+time.Minute)
	defer cancel()
	began := time.Now()
	var mu sync.Mutex
	var m swarm.Messages
	var failed error
	var sending sync.WaitGroup
	interval := time.Second / time.Duration(l.PerSecond)
	for s, conn := range n.senders {
		sending.Go(func() {
			for i := s; ; i += len(n.senders) {
				due := time.Duration(i) * interval
				if due >= l.During || time.Since(began) >= l.During {
					return
				}
				pause(ctx, due-time.Since(began))
				stamp := strconv.FormatInt(int64(time.Since(began)), 10) + " "
				payload := stamp + strings.Repeat("x", l.Bytes-len(stamp))
				channel := fmt.Sprintf("instance%d", i%len(n.listeners))
				_, err := conn.Exec(ctx, "SELECT pg_notify($1, $2)", channel, payload)
				mu.Lock()
				m.Offered++
				failed = errors.Join(failed, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	sending.Wait()
	m.Took = time.Since(began)
	if failed != nil {
		return m, failed
	}
	for range m.Offered {
		select {
		case a := <-n.arrived:
			stamp, _, _ := strings.Cut(a.payload, " ")
			at, err := strconv.ParseInt(stamp, 10, 64)
			if err != nil {
				return m, err
			}
			m.Delivered = append(m.Delivered, a.at.Sub(began)-time.Duration(at))
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
	return m, nil
}
