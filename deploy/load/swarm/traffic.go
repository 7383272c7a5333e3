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

// Pair is a peer and another one, which lets it find and signal it.
type Pair struct{ From, To *Peer }

// Allow has To let From find and signal it, in each pair.
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

// Seen reports whether the first of a pair sees the second online.
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

// Lookup has the first of each pair ask for the second, over so many
// connections, one request after the other on each, for a while.
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

// Load is how much the pairs say to each other.
type Load struct {
	PerSecond int           // messages in all, evenly spaced
	During    time.Duration // then what is under way is waited for
	Bytes     int           // of each message; 24 to signal.MaxBody
}

// Messages is how they fared. The sending does not wait for anything that was
// sent before, so that a slow rendezvous cannot make itself look better.
type Messages struct {
	Offered   int                    `json:"offered"`   // written
	Unwritten int                    `json:"unwritten"` // their sender was not connected
	Delivered Latencies              `json:"delivered"` // from before the write to the receiver
	Confirmed Latencies              `json:"confirmed"` // from before the write to the sender's Sent
	Failed    map[signal.Failure]int `json:"failed,omitempty"`
	// of which the sender was told nothing because its connection ended
	Cut int `json:"cut"`
	// of which the sender was told nothing although its connection stood
	Lost    int           `json:"lost"`
	Untrue  int           `json:"untrue"`     // of which the sender was told Sent, and the receiver has none
	Slowest time.Duration `json:"slowest_ns"` // until an answer of any kind
	Late    Latencies     `json:"late"`       // the load itself, behind its schedule
	Took    time.Duration `json:"took_ns"`
}

// traffic is one run of messages.
type traffic struct {
	number uint64 // distinguishes the run
	began  time.Time

	// Guarded by mu.
	mu       sync.Mutex
	m        Messages
	arrived  map[uint64]bool // by the message's number
	answers  int
	complete chan struct{} // closed by the last answer once expected is known
	expected int           // 0 until all is written
}

const (
	minBody = 24               // bytes: the run's number, the moment and the message's number
	settle  = 12 * time.Second // for the last answers: longer than a rendezvous waits for a confirmation
	pacers  = 4                // goroutines that send
	grain   = 200 * time.Microsecond
)

// Send has the pairs say so much to each other. One run at a time.
func (s *Swarm) Send(ctx context.Context, pairs []Pair, l Load) (Messages, error) {
	if l.PerSecond < 1 || len(pairs) == 0 || l.Bytes < minBody || l.Bytes > signal.MaxBody {
		return Messages{}, fmt.Errorf("swarm: want pairs, a rate, and %d to %d bytes", minBody, signal.MaxBody)
	}
	began := time.Now()
	t := &traffic{number: uint64(began.UnixNano()), began: began, arrived: map[uint64]bool{},
		complete: make(chan struct{})}
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
		from.sent = map[uint32]outgoing{}
	}
	from.lastID++
	from.sent[from.lastID] = outgoing{time.Now(), binary.BigEndian.Uint64(body[16:]), from.conn}
	if err := from.writeLocked(signal.Send{ID: from.lastID, To: p.To.ID, Body: body}); err != nil {
		delete(from.sent, from.lastID)
		return false
	}
	return true
}

// answer returns the message with the ID, which is answered.
func (p *Peer) answer(id uint32) outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.sent[id]
	delete(p.sent, id)
	return o
}

// delivered notes a message that has arrived; one of an earlier run is none.
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

// answered notes the answer to a message.
func (t *traffic) answered(o outgoing, code signal.Failure) {
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

// cut notes messages whose sender's connection has ended.
func (t *traffic) cut(sent map[uint32]outgoing) {
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

// Pairs makes n pairs of peers, or as many as there are: the first half sends,
// the other half receives.
func Pairs(peers []*Peer, n int) []Pair {
	half := len(peers) / 2
	pairs := make([]Pair, min(n, half))
	for i := range pairs {
		pairs[i] = Pair{From: peers[i], To: peers[half+i]}
	}
	return pairs
}
