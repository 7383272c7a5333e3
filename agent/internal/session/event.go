package session

import (
	"fmt"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
)

// Event reports a change of a session.
type Event struct {
	Kind   EventKind
	Reason string    // of Lost and Reset, for a person
	Path   link.Path // of Linked
}

// EventKind is the kind of an Event.
type EventKind uint8

// The kinds of event.
const (
	Linked      EventKind = iota + 1 // a link has become the active one, or a better one has replaced it
	Lost                             // the last link was lost; everything that is attached waits
	Reset                            // all attachments were dropped
	Devices                          // the peer's list has arrived, or has changed
	Attachments                      // an attachment of either role has begun or ended
	Seek                             // a link over TCP may carry more than the active one over UDP
)

// String returns the name of the kind.
func (k EventKind) String() string {
	switch k {
	case Linked:
		return "linked"
	case Lost:
		return "lost"
	case Reset:
		return "reset"
	case Devices:
		return "devices"
	case Attachments:
		return "attachments"
	case Seek:
		return "seek"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// eventQueue holds the events that Run has yet to report, and wakes it.
type eventQueue struct {
	wake chan struct{}

	mu     sync.Mutex
	events []Event // guarded by mu
}

func newEventQueue() eventQueue { return eventQueue{wake: make(chan struct{}, 1)} }

// add adds an event, unless it equals the last one: two equal ones in a row report no more than one does.
func (q *eventQueue) add(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.events); n == 0 || q.events[n-1] != e {
		q.events = append(q.events, e)
	}
	q.poke()
}

// poke wakes Run.
func (q *eventQueue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *eventQueue) take() []Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events = nil
	return events
}

// report calls OnEvent with the events since the last call. Run calls it.
func (s *Session) report() {
	for _, e := range s.events.take() {
		if s.cfg.OnEvent != nil {
			s.cfg.OnEvent(e)
		}
	}
}
