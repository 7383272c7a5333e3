package front

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Bounds of connections that have not said yet what they want. A handshake costs
// the machine about half a millisecond: so many at a time are done in half a
// second, and who comes later in a storm waits in the kernel's queue, where
// nothing is wasted on those who give up.
const (
	maxWaiting  = 1024
	maxOfSource = maxWaiting / 4
	sloth       = 3 * time.Second // where there is no place, who takes longer makes one
)

// limits counts connections.
type limits struct {
	perSource int           // static: connections of one source
	freed     chan struct{} // holds one: a place has become free

	// Guarded by mu.
	mu      sync.Mutex
	sources map[netip.Prefix]*tally
	waiting *list.List // of *conn that have not said yet what they want, the oldest first
	refused uint64     // connections of sources that had too many
}

// tally is the connections of one source.
type tally struct {
	source  netip.Prefix
	all     int
	waiting int
}

func newLimits(perSource int) *limits {
	return &limits{
		perSource: perSource, freed: make(chan struct{}, 1),
		sources: map[netip.Prefix]*tally{}, waiting: list.New(),
	}
}

// begin gives a connection a place among those that have not said yet what they
// want, and waits for one if need be. It reports whether ctx let it.
func (l *limits) begin(ctx context.Context, c *conn, now func() time.Time) bool {
	for {
		l.mu.Lock()
		patience := time.Duration(0)
		var late *conn
		if l.waiting.Len() >= maxWaiting {
			oldest := l.waiting.Front().Value.(*conn)
			if patience = sloth - now().Sub(oldest.began); patience <= 0 {
				late = oldest
				l.settleLocked(oldest)
			}
		}
		if patience <= 0 {
			c.began = now()
			c.waiting = l.waiting.PushBack(c)
		}
		l.mu.Unlock()
		if late != nil {
			late.Conn.Close() // its own goroutine does the rest
		}
		if patience <= 0 {
			return true
		}
		timer := time.NewTimer(patience)
		select {
		case <-l.freed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}

// Errors of a source that has too much.
var (
	errConnections = errors.New("this source has as many connections as --max-connections-per-source allows")
	errWaiting     = fmt.Errorf("this source has %d connections that do not say what they want", maxOfSource)
)

// enter counts a connection as one of a source's, unless that has too many.
func (l *limits) enter(c *conn, source netip.Prefix) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.sources[source]
	switch {
	case t == nil:
		t = &tally{source: source}
		l.sources[source] = t
	case t.all >= l.perSource:
		l.refused++
		return errConnections
	case t.waiting >= maxOfSource:
		l.refused++
		return errWaiting
	}
	t.all++
	c.source = t
	if c.waiting != nil {
		t.waiting++
	}
	return nil
}

// settle gives the place back: the connection has said what it wants.
func (l *limits) settle(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settleLocked(c)
}

func (l *limits) settleLocked(c *conn) {
	if c.waiting == nil {
		return
	}
	l.waiting.Remove(c.waiting)
	c.waiting = nil
	if c.source != nil {
		c.source.waiting--
	}
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// leave ends the counting of a connection.
func (l *limits) leave(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settleLocked(c)
	if t := c.source; t != nil {
		c.source = nil
		if t.all--; t.all == 0 {
			delete(l.sources, t.source)
		}
	}
}
