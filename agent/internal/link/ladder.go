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
	Name() string // for people: "TLS to 192.0.2.7:7574"
	Rank() Rank   // the best that its link can have
	// Dial makes a link or says why not. Where its error has an
	// Explain() string, that is the sentence people are shown.
	Dial(ctx context.Context) (Link, error)
}

// Step is a rung and how long it lets the others go first.
type Step struct {
	Rung  Rung
	Delay time.Duration // cut short when nothing that has started is left
}

// Result is what came of a rung.
type Result uint8

// The results.
const (
	NotTried Result = iota // the attempt ended before it started
	Trying                 // dialing now, or still dialing when the attempt ended
	Failed                 // Err says why
	Won                    // its link was handed over
	Spare                  // a link at least as good was there first
)

// String names the result.
func (r Result) String() string {
	return [...]string{"not tried", "trying", "failed", "won", "not needed"}[min(r, Spare)]
}

// Outcome is a rung and what came of it.
type Outcome struct {
	Name   string
	Rank   Rank
	Result Result
	Got    Rank // of the link, if it made one
	Err    error
	Took   time.Duration // from the rung's start to its result
}

// LadderConfig is what [NewLadder] needs.
type LadderConfig struct {
	Steps []Step
	// Within is how long one attempt lasts, the time in which a better link
	// may still replace the first; 0 means 15 s.
	Within time.Duration
	// Got takes over every link that is better than those before it. It is
	// called by Run's goroutine and must not block.
	Got func(Link) // required
}

const defaultWithin = 15 * time.Second

// Ladder races rungs in one attempt to reach a peer. All start at once, apart
// from their delays; the first link is handed over at once, each better one
// that comes in time too, and a worse one is closed:
//
//	         its delay is over, or nothing runs      Dial
//	NotTried ─────────────────────────────────► Trying ──► Failed
//	                                               ├─ better than all before: Won
//	                                               └─ no better, or cannot be: Spare
type Ladder struct {
	// Static after construction.
	steps  []Step
	within time.Duration
	got    func(Link)

	// Owned by Run.
	pending map[int]struct{} // rungs that have not started
	running map[int]context.CancelFunc
	best    Rank // of the links handed over
	won     bool

	mu       sync.Mutex
	outcomes []Outcome // guarded by mu, so that Explain can look on
}

// ErrNoPath is the error of an attempt on which no rung worked. It is joined
// with the rungs' errors.
var ErrNoPath = errors.New("no way to the peer works")

// NewLadder makes a ladder for one attempt, which Run starts.
func NewLadder(cfg LadderConfig) (*Ladder, error) {
	if cfg.Got == nil {
		return nil, errors.New("ladder: nobody takes its links")
	}
	l := &Ladder{
		steps: cfg.Steps, within: cfg.Within, got: cfg.Got,
		pending: make(map[int]struct{}), running: make(map[int]context.CancelFunc),
	}
	if l.within <= 0 {
		l.within = defaultWithin
	}
	for i, s := range cfg.Steps {
		l.pending[i] = struct{}{}
		l.outcomes = append(l.outcomes, Outcome{Name: s.Rung.Name(), Rank: s.Rung.Rank()})
	}
	return l, nil
}

// dialed is what a rung's goroutine reports.
type dialed struct {
	rung int
	link Link
	err  error
	took time.Duration
}

// Run makes the attempt and blocks until no rung is left that could give a
// better link, or the time is over. It returns nil if a link was handed over
// or ctx ended, else [ErrNoPath] with the reasons. It is called once.
func (l *Ladder) Run(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	began := time.Now()
	results := make(chan dialed)
	for {
		if attempt.Err() == nil {
			l.startDue(attempt, time.Since(began), results)
		}
		if len(l.running) == 0 {
			break // startDue leaves nothing pending without something running
		}
		timer := time.NewTimer(l.untilNext(time.Since(began)))
		select {
		case r := <-results:
			l.take(attempt, r)
		case <-timer.C:
		case <-attempt.Done():
			l.take(attempt, <-results) // every Dial ends with its context
		}
		timer.Stop()
	}
	if l.won || ctx.Err() != nil {
		return nil
	}
	return l.failure()
}

// startDue starts the rungs whose delay is over, and the next ones early if
// nothing runs. Rungs that cannot give a better link are left untried.
func (l *Ladder) startDue(ctx context.Context, since time.Duration, results chan<- dialed) {
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
		l.startDue(ctx, since, results) // the next were left untried: go on to those after them
	}
}

func (l *Ladder) start(ctx context.Context, i int, results chan<- dialed) {
	ctx, cancel := context.WithCancel(ctx)
	l.running[i] = cancel
	l.note(i, func(o *Outcome) { o.Result = Trying })
	go func() {
		began := time.Now()
		made, err := l.steps[i].Rung.Dial(ctx)
		results <- dialed{rung: i, link: made, err: err, took: time.Since(began)}
	}()
}

// untilNext is the time until the next delay is over.
func (l *Ladder) untilNext(since time.Duration) time.Duration {
	next := l.within
	for i := range l.pending {
		next = min(next, l.steps[i].Delay-since)
	}
	return max(next, 0)
}

// take deals with a rung that has ended.
func (l *Ladder) take(attempt context.Context, r dialed) {
	l.running[r.rung]()
	delete(l.running, r.rung)
	outcome := Outcome{Result: Failed, Err: r.err, Took: r.took}
	if r.err == nil {
		outcome.Got = r.link.Info().Path.Rank
	}
	switch {
	case r.err != nil && l.won && l.steps[r.rung].Rung.Rank() <= l.best:
		outcome.Result = Spare
	case r.err != nil && attempt.Err() != nil && errors.Is(r.err, attempt.Err()):
		outcome.Err = fmt.Errorf("no answer within %v: %w", r.took.Round(time.Millisecond), r.err)
	case r.err != nil:
	case l.won && outcome.Got <= l.best:
		outcome.Result = Spare
		r.link.Close("a path at least as good was there first")
	default:
		outcome.Result = Won
		l.won, l.best = true, outcome.Got
	}
	l.note(r.rung, func(o *Outcome) {
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
	l.got(r.link)
}

func (l *Ladder) note(i int, change func(*Outcome)) {
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

// Explain returns what came of every rung so far, best rank first.
func (l *Ladder) Explain() []Outcome {
	l.mu.Lock()
	outcomes := slices.Clone(l.outcomes)
	l.mu.Unlock()
	slices.SortStableFunc(outcomes, func(a, b Outcome) int { return int(b.Rank) - int(a.Rank) })
	return outcomes
}

// Why says in a person's words why no path better than active is used, best
// first; it is empty if there was nothing better to try. Rank 0 is no path.
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
	case Won, Spare:
		if o.Got != 0 && o.Got < o.Rank {
			return fmt.Sprintf("%s: found no better path than one that is %s", o.Name, o.Got)
		}
	}
	return "" // it did work: what it made is the active link, or was lost since
}

// explainer is an error that has a sentence for people.
type explainer interface {
	error
	Explain() string
}
