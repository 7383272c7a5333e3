package session

import (
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
)

// Event is something that happened to a session.
type Event struct {
	Kind   EventKind
	Reason string    // of Lost and Reset, for a person
	Path   link.Path // of Linked
}

// EventKind says what happened.
type EventKind uint8

// The kinds of event.
const (
	Linked      EventKind = iota + 1 // a link has become the active one, or a better one has replaced it
	Lost                             // no link is up any more; all that is attached waits
	Reset                            // all attachments were dropped
	Devices                          // the peer's list has come, or changed
	Attachments                      // an attachment of either role has begun or ended
)

// String names the kind.
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
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// emit has Run report an event. Mu is held. Of several that say no more than
// that something changed, one is kept.
func (s *Session) emit(e Event) {
	if n := len(s.events); n == 0 || s.events[n-1] != e {
		s.events = append(s.events, e)
	}
	s.poke()
}

// report tells OnEvent what has happened.
func (s *Session) report() {
	s.mu.Lock()
	events := s.events
	s.events = nil
	s.mu.Unlock()
	if s.cfg.OnEvent == nil {
		return
	}
	for _, e := range events {
		s.cfg.OnEvent(e)
	}
}
