package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rung is one way to reach a peer.
type Rung interface {
	Name() string // for people, such as "TLS to 192.0.2.7:7574"
	Rank() Rank   // the best rank that its link can have
	// Dial makes a link. If its error has a method Explain() string, people read
	// that sentence in place of the error.
	Dial(ctx context.Context) (Link, error)
}

// Step is a rung with a delay that gives other rungs a head start. The delay
// ends early when no started rung is running.
type Step struct {
	Rung  Rung
	Delay time.Duration
}

// Result is the result of a rung.
type Result uint8

// The results.
const (
	NotTried  Result = iota // the attempt ended before the rung started
	Trying                  // Dial is running, or still ran when the attempt ended
	Failed                  // Dial failed; Outcome.Err is its error
	Won                     // its link went to OnLink
	NotNeeded               // an earlier link was at least as good
)

// String returns a name for people.
func (r Result) String() string {
	return [...]string{"not tried", "trying", "failed", "won", "not needed"}[min(r, NotNeeded)]
}

// Outcome describes a rung and its result.
type Outcome struct {
	Name   string
	Rank   Rank
	Result Result
	Made   Rank // the rank of its link, if Dial made one
	Err    error
	Took   time.Duration // from the start of the rung to its result
}

// LadderConfig configures a [Ladder].
type LadderConfig struct {
	Steps []Step
	// Timeout bounds one attempt. Until then a better link may replace the first
	// one. 0 means 15 s.
	Timeout time.Duration
	// OnLink takes over every link that is better than all links before it. Run
	// calls it in its goroutine, and it must not block. It is required.
	OnLink func(Link)
}

const defaultTimeout = 15 * time.Second

// Ladder races rungs in one attempt to reach a peer. All rungs start at once,
// apart from their delays. The first link goes to OnLink at once, and so does
// each better one within the timeout. All other links are closed.
//
//	         delay is over, or no rung runs          Dial
//	NotTried ─────────────────────────────► Trying ───┬─ error ────────────────► Failed
//	                                                  ├─ better than all before ► Won
//	                                                  └─ not better, or cannot be ► NotNeeded
type Ladder struct {
	// Static after construction.
	steps   []Step
	timeout time.Duration
	onLink  func(Link)

	// Owned by Run.
	pending map[int]struct{} // rungs that have not started
	running map[int]context.CancelFunc
	best    Rank // of the links that went to OnLink
	won     bool // whether a link went to OnLink

	mu       sync.Mutex
	outcomes []Outcome // guarded by mu
}

// ErrNoPath is the error of an attempt in which no rung worked. It is joined
// with the errors of the rungs.
var ErrNoPath = errors.New("no way to the peer works")

// NewLadder returns a ladder for one attempt.
func NewLadder(cfg LadderConfig) (*Ladder, error) {
	if cfg.OnLink == nil {
		return nil, errors.New("ladder: OnLink is required")
	}
	l := &Ladder{
		steps: cfg.Steps, timeout: cfg.Timeout, onLink: cfg.OnLink,
		pending: make(map[int]struct{}), running: make(map[int]context.CancelFunc),
	}
	if l.timeout <= 0 {
		l.timeout = defaultTimeout
	}
	for i, s := range cfg.Steps {
		l.pending[i] = struct{}{}
		l.outcomes = append(l.outcomes, Outcome{Name: s.Rung.Name(), Rank: s.Rung.Rank()})
	}
	return l, nil
}

// dialResult is the event that a rung's goroutine sends to Run.
type dialResult struct {
	rung int
	link Link
	err  error
	took time.Duration
}

// Run makes the attempt. It returns when no remaining rung can make a better
// link, or after the timeout. The error is nil if a link went to OnLink or ctx
// ended, and otherwise [ErrNoPath] with the errors of the rungs. Run must be
// called once.
func (l *Ladder) Run(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	began := time.Now()
	results := make(chan dialResult)
	for {
		if attempt.Err() == nil {
			l.startDue(attempt, time.Since(began), results)
		}
		if len(l.running) == 0 {
			break // then startDue has left no rung pending either
		}
		timer := time.NewTimer(l.untilNext(time.Since(began)))
		select {
		case r := <-results:
			l.take(attempt, r)
		case <-timer.C:
		case <-attempt.Done():
			l.take(attempt, <-results) // every Dial returns when its context ends
		}
		timer.Stop()
	}
	if l.won || ctx.Err() != nil {
		return nil
	}
	return l.failure()
}

// startDue starts the rungs whose delay is over. If no rung is running it starts
// the next ones early. It drops rungs that cannot make a better link.
func (l *Ladder) startDue(ctx context.Context, since time.Duration, results chan<- dialResult) {
	if len(l.running) == 0 {
		since += l.untilNext(since)
	}
	for i := range l.pending {
		if s := l.steps[i]; l.won && s.Rung.Rank() <= l.best {
			delete(l.pending, i)
		} else if s.Delay <= since {
			delete(l.pending, i)
			l.start(ctx, i, results)
		}
	}
	if len(l.running) == 0 && len(l.pending) > 0 {
		l.startDue(ctx, since, results) // the next rungs were dropped: start those after them
	}
}

func (l *Ladder) start(ctx context.Context, i int, results chan<- dialResult) {
	ctx, cancel := context.WithCancel(ctx)
	l.running[i] = cancel
	l.update(i, func(o *Outcome) { o.Result = Trying })
	go func() {
		began := time.Now()
		link, err := l.steps[i].Rung.Dial(ctx)
		results <- dialResult{rung: i, link: link, err: err, took: time.Since(began)}
	}()
}

// untilNext returns the time until the next delay is over.
func (l *Ladder) untilNext(since time.Duration) time.Duration {
	next := l.timeout
	for i := range l.pending {
		next = min(next, l.steps[i].Delay-since)
	}
	return max(next, 0)
}

// take handles the result of a rung.
func (l *Ladder) take(attempt context.Context, r dialResult) {
	l.running[r.rung]()
	delete(l.running, r.rung)
	outcome := Outcome{Result: Failed, Err: r.err, Took: r.took}
	if r.err == nil {
		outcome.Made = r.link.Info().Path.Rank
	}
	switch {
	case r.err != nil && l.won && l.steps[r.rung].Rung.Rank() <= l.best:
		outcome.Result = NotNeeded
	case r.err != nil && attempt.Err() != nil && errors.Is(r.err, attempt.Err()):
		outcome.Err = fmt.Errorf("no answer within %v: %w", r.took.Round(time.Millisecond), r.err)
	case r.err != nil:
	case l.won && outcome.Made <= l.best:
		outcome.Result = NotNeeded
		r.link.Close("a path at least as good was there first")
	default:
		outcome.Result = Won
		l.won, l.best = true, outcome.Made
	}
	l.update(r.rung, func(o *Outcome) {
		outcome.Name, outcome.Rank = o.Name, o.Rank
		*o = outcome
	})
	if outcome.Result != Won {
		return
	}
	for i, cancel := range l.running {
		if l.steps[i].Rung.Rank() <= l.best {
			cancel()
		}
	}
	l.onLink(r.link)
}

func (l *Ladder) update(i int, change func(*Outcome)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.outcomes[i])
}

func (l *Ladder) failure() error {
	errs := []error{ErrNoPath}
	for _, o := range l.Explain() {
		if o.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o.Name, o.Err))
		}
	}
	return errors.Join(errs...)
}

// Explain returns the outcomes of all rungs so far, best rank first.
func (l *Ladder) Explain() []Outcome {
	l.mu.Lock()
	outcomes := slices.Clone(l.outcomes)
	l.mu.Unlock()
	slices.SortStableFunc(outcomes, func(a, b Outcome) int { return int(b.Rank) - int(a.Rank) })
	return outcomes
}

// Why returns a text for people: the reasons why no path better than active is
// in use, best path first. It is empty if no better path could be tried. An
// active rank of 0 means no path.
func (l *Ladder) Why(active Rank) string {
	var reasons []string
	for _, o := range l.Explain() {
		if o.Rank <= active {
			continue
		}
		if s := o.why(); s != "" && !slices.Contains(reasons, s) {
			reasons = append(reasons, s)
		}
	}
	return strings.Join(reasons, "; ")
}

func (o Outcome) why() string {
	switch o.Result {
	case NotTried:
		return o.Name + ": not tried"
	case Trying:
		return o.Name + ": still trying"
	case Failed:
		if e, ok := errors.AsType[explainer](o.Err); ok {
			return o.Name + ": " + e.Explain()
		}
		return o.Name + ": " + o.Err.Error()
	case Won, NotNeeded:
		if o.Made != 0 && o.Made < o.Rank {
			return fmt.Sprintf("%s: found no better path than one that is %s", o.Name, o.Made)
		}
	}
	return "" // the rung worked: its link is the active one, or has ended since
}

// explainer is an error with a sentence for people.
type explainer interface {
	error
	Explain() string
}
