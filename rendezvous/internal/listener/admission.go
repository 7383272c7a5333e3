package listener

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

// Bounds of pending connections. A TLS handshake costs about half a millisecond of processor time, so maxPending
// handshakes take half a second. In a storm, later connections wait in the kernel's queue, where clients that give up
// cost nothing.
const (
	maxPending          = 1024
	maxPendingPerSource = maxPending / 4
	handshakeTimeout    = 3 * time.Second // when maxPending is reached, slower connections are closed to make room
)

// admission bounds the connections of each source and the pending connections of all sources.
type admission struct {
	// Static.
	connections *limits.Counter[netip.Prefix] // by source
	greetings   *limits.Counter[netip.Prefix] // pending connections by source
	freed       chan struct{}                 // receives when a pending connection ends; has a buffer of one

	// Guarded by mu.
	mu      sync.Mutex
	pending *list.List // of *conn, the oldest first
	refused uint64     // connections refused because their source had too many
}

func newAdmission(perSource int) *admission {
	return &admission{
		connections: limits.NewCounter[netip.Prefix](perSource, 0),
		greetings:   limits.NewCounter[netip.Prefix](maxPendingPerSource, 0),
		freed:       make(chan struct{}, 1), pending: list.New(),
	}
}

// admit adds a connection to the pending ones. If there are maxPending already, it waits until one of them ends, or
// closes the oldest once that has exceeded handshakeTimeout. It returns false if ctx ends first.
func (a *admission) admit(ctx context.Context, c *conn, now func() time.Time) bool {
	for {
		wait, late := a.tryAdmit(c, now())
		if late != nil {
			late.Conn.Close() // the goroutine of that connection does the rest
		}
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-a.freed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}

// tryAdmit adds a connection to the pending ones, or returns how long to wait before the next attempt. late is the
// connection that has lost its place; the caller closes it.
func (a *admission) tryAdmit(c *conn, now time.Time) (wait time.Duration, late *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending.Len() >= maxPending {
		oldest := a.pending.Front().Value.(*conn)
		if wait = handshakeTimeout - now.Sub(oldest.admitted); wait > 0 {
			return wait, nil
		}
		a.remove(oldest)
		late = oldest
	}
	c.admitted = now
	c.place = a.pending.PushBack(c)
	return 0, late
}

// Errors of a source that has too many connections.
var (
	errConnections = errors.New("this source has as many connections as --max-connections-per-source allows")
	errPending     = fmt.Errorf("this source has %d connections that have not shown which protocol they speak",
		maxPendingPerSource)
)

// count counts a connection for its source, or returns an error if the source has too many.
func (a *admission) count(c *conn, source netip.Prefix) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.connections.Enter(source) {
		a.refused++
		return errConnections
	}
	if c.place != nil {
		if !a.greetings.Enter(source) {
			a.connections.Leave(source)
			a.refused++
			return errPending
		}
		c.greeting = true
	}
	c.source, c.counted = source, true
	return nil
}

// identified removes a connection from the pending ones, because its protocol is known.
func (a *admission) identified(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(c)
}

// remove removes a connection from the pending ones if it is one. mu must be held.
func (a *admission) remove(c *conn) {
	if c.place == nil {
		return
	}
	a.pending.Remove(c.place)
	c.place = nil
	if c.greeting {
		a.greetings.Leave(c.source)
		c.greeting = false
	}
	select {
	case a.freed <- struct{}{}:
	default:
	}
}

// leave uncounts a connection that has ended.
func (a *admission) leave(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(c)
	if c.counted {
		a.connections.Leave(c.source)
		c.counted = false
	}
}

// stats returns the number of pending connections and of refused ones.
func (a *admission) stats() (pending int, refused uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pending.Len(), a.refused
}
