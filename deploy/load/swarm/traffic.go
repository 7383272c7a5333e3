package swarm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Pair is a peer and another one that it may find and signal.
type Pair struct{ From, To *Peer }

// Allow makes To permit From to find and signal it, for each pair.
func (s *Swarm) Allow(ctx context.Context, pairs []Pair, conns int) error {
	from := map[*Peer]*Peer{}
	owners := make([]*Peer, len(pairs))
	for i, p := range pairs {
		from[p.To], owners[i] = p.From, p.To
	}
	if len(from) < len(pairs) {
		return errors.New("swarm: a peer is the receiver of two pairs")
	}
	failed, err := s.requests(ctx, owners, conns, func(r *rest, owner *Peer) error {
		return r.call(ctx, http.MethodPut, api.AllowedPath(from[owner].ID), owner.token, nil, nil)
	})
	if failed > 0 {
		return fmt.Errorf("%d of %d pairs are not allowed: %w", failed, len(pairs), err)
	}
	return err
}

// Seen reports whether From sees To online.
func (s *Swarm) Seen(ctx context.Context, pair Pair) (bool, error) {
	r, err := s.rest(ctx, s.source())
	if err != nil {
		return false, err
	}
	defer r.close()
	var peer api.Peer
	err = r.call(ctx, http.MethodGet, api.PeerPath(pair.To.ID), pair.From.token, nil, &peer)
	return peer.Online, err
}

// Lookup makes From look up To for each pair, over conns connections with one request at a
// time, until the given time has passed.
func (s *Swarm) Lookup(ctx context.Context, pairs []Pair, conns int, during time.Duration) (Rate, error) {
	var mu sync.Mutex
	var rate Rate
	began := time.Now()
	err := each(ctx, conns, conns, func(ctx context.Context, worker int) error {
		r, err := s.rest(ctx, s.source())
		if err != nil {
			return err
		}
		defer r.close()
		var took Latencies
		for i := worker; time.Since(began) < during && ctx.Err() == nil; i += conns {
			pair := pairs[i%len(pairs)]
			var peer api.Peer
			at := time.Now()
			if err := r.call(ctx, http.MethodGet, api.PeerPath(pair.To.ID), pair.From.token, nil, &peer); err != nil {
				return err
			}
			if peer.ID != pair.To.ID {
				return errors.New("the rendezvous found another peer")
			}
			took = append(took, time.Since(at))
		}
		mu.Lock()
		defer mu.Unlock()
		rate.Latency = append(rate.Latency, took...)
		return nil
	})
	rate.Done, rate.Took = len(rate.Latency), time.Since(began)
	return rate, err
}

// Load describes the messages that pairs send.
type Load struct {
	PerSecond int           // messages of all pairs, evenly spaced
	During    time.Duration // then Send waits for the messages under way
	Bytes     int           // per message; 24 to signal.MaxBody
}

// Messages is the result of Send. Sending never waits for earlier messages, so a slow
// rendezvous cannot make its figures look better.
type Messages struct {
	Offered   int                    `json:"offered"`   // written
	Unwritten int                    `json:"unwritten"` // the sender was not connected
	Delivered Latencies              `json:"delivered"` // from before the write to the receiver
	Confirmed Latencies              `json:"confirmed"` // from before the write to the sender's Sent frame
	Failed    map[signal.Failure]int `json:"failed,omitempty"`
	// messages without an answer because the sender's connection ended
	Cut int `json:"cut"`
	// messages without an answer although the sender's connection stayed open
	Lost    int           `json:"lost"`
	Untrue  int           `json:"untrue"`     // messages with an answer Sent that did not reach the receiver
	Slowest time.Duration `json:"slowest_ns"` // longest time until any answer
	Late    Latencies     `json:"late"`       // delay of the load generator behind its schedule
	Took    time.Duration `json:"took_ns"`
}

// traffic is one run of messages.
type traffic struct {
	number uint64 // identifies the run
	began  time.Time

	// Guarded by mu.
	mu       sync.Mutex
	m        Messages
	arrived  map[uint64]bool // by the number of the message
	answers  int
	complete chan struct{} // closed by the last answer once expected is set
	expected int           // 0 until all messages are written
}

const (
	minBody = 24               // bytes: the run's number, the moment and the message's number
	settle  = 12 * time.Second // for the last answers; longer than a rendezvous waits for a confirmation
	pacers  = 4                // sending goroutines
	grain   = 200 * time.Microsecond
)

// Send makes the pairs send messages. Only one Send may run at a time.
func (s *Swarm) Send(ctx context.Context, pairs []Pair, l Load) (Messages, error) {
	if l.PerSecond < 1 || len(pairs) == 0 || l.Bytes < minBody || l.Bytes > signal.MaxBody {
		return Messages{}, fmt.Errorf("swarm: want pairs, a rate, and %d to %d bytes", minBody, signal.MaxBody)
	}
	began := time.Now()
	t := &traffic{
		number: uint64(began.UnixNano()), began: began, arrived: map[uint64]bool{},
		complete: make(chan struct{}),
	}
	t.m.Failed = map[signal.Failure]int{}
	if !s.traffic.CompareAndSwap(nil, t) {
		return Messages{}, errors.New("swarm: messages are being sent already")
	}
	defer s.traffic.Store(nil)
	var sending sync.WaitGroup
	for n := range pacers {
		sending.Go(func() { t.pace(ctx, pairs, l, n) })
	}
	sending.Wait()
	t.mu.Lock()
	t.m.Took = time.Since(began)
	t.expected = t.m.Offered
	if t.answers == t.expected {
		t.closeLocked()
	}
	t.mu.Unlock()
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-t.complete:
	case <-timer.C:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m.Lost = t.m.Offered - t.answers
	return t.m, context.Cause(ctx)
}

// pace sends every pacers-th message when it is due.
func (t *traffic) pace(ctx context.Context, pairs []Pair, l Load, n int) {
	interval := time.Second / time.Duration(l.PerSecond)
	body := make([]byte, l.Bytes)
	binary.BigEndian.PutUint64(body, t.number)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := n; ; i += pacers {
		due := time.Duration(i) * interval
		if due >= l.During {
			return
		}
		if wait := due - time.Since(t.began); wait > grain {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		now := time.Since(t.began)
		binary.BigEndian.PutUint64(body[8:], uint64(now))
		binary.BigEndian.PutUint64(body[16:], uint64(i))
		ok := pairs[i%len(pairs)].send(body)
		t.mu.Lock()
		t.m.Late = append(t.m.Late, max(0, now-due))
		if ok {
			t.m.Offered++
		} else {
			t.m.Unwritten++
		}
		t.mu.Unlock()
	}
}

func (p Pair) send(body []byte) bool {
	from := p.From
	from.mu.Lock()
	defer from.mu.Unlock()
	if from.conn == nil {
		return false
	}
	if from.sent == nil {
		from.sent = map[uint32]pendingMessage{}
	}
	from.lastID++
	from.sent[from.lastID] = pendingMessage{time.Now(), binary.BigEndian.Uint64(body[16:]), from.conn}
	if err := from.writeLocked(signal.Send{ID: from.lastID, To: p.To.ID, Body: body}); err != nil {
		delete(from.sent, from.lastID)
		return false
	}
	return true
}

// answer removes and returns the message with an ID.
func (p *Peer) answer(id uint32) pendingMessage {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.sent[id]
	delete(p.sent, id)
	return o
}

// delivered records a message that has arrived. It ignores messages of an earlier run.
func (t *traffic) delivered(body []byte) {
	if t == nil || len(body) < minBody || binary.BigEndian.Uint64(body) != t.number {
		return
	}
	took := time.Since(t.began) - time.Duration(binary.BigEndian.Uint64(body[8:]))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m.Delivered = append(t.m.Delivered, took)
	t.arrived[binary.BigEndian.Uint64(body[16:])] = true
}

// answered records the answer to a message.
func (t *traffic) answered(o pendingMessage, code signal.Failure) {
	if t == nil || o.at.Before(t.began) {
		return
	}
	took := time.Since(o.at)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m.Slowest = max(t.m.Slowest, took)
	if code != 0 {
		t.m.Failed[code]++
	} else {
		t.m.Confirmed = append(t.m.Confirmed, took)
		if !t.arrived[o.number] {
			t.m.Untrue++
		}
	}
	t.answerLocked()
}

// cut records messages whose sender's connection has ended.
func (t *traffic) cut(sent map[uint32]pendingMessage) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range sent {
		if !o.at.Before(t.began) {
			t.m.Cut++
			t.answerLocked()
		}
	}
}

func (t *traffic) answerLocked() {
	if t.answers++; t.answers == t.expected {
		t.closeLocked()
	}
}

func (t *traffic) closeLocked() {
	select {
	case <-t.complete:
	default:
		close(t.complete)
	}
}

// Pairs returns n pairs of peers, or as many as possible: the first half of the peers sends,
// the second half receives.
func Pairs(peers []*Peer, n int) []Pair {
	half := len(peers) / 2
	pairs := make([]Pair, min(n, half))
	for i := range pairs {
		pairs[i] = Pair{From: peers[i], To: peers[half+i]}
	}
	return pairs
}
