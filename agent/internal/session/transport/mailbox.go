package transport

import (
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// event is one of the types below.
type event any

type (
	// joinEvent brings a new link.
	joinEvent struct{ link link.Link }
	// helloEvent reports that the peer's Hello has arrived. Run closes handled.
	helloEvent struct {
		link    *linkRunner
		hello   tunnel.Hello
		handled chan struct{}
	}
	// ackEvent reports that an Ack has arrived on a link that is not ready. Run closes handled.
	ackEvent struct {
		link    *linkRunner
		ack     tunnel.Ack
		handled chan struct{}
	}
	// helloSentEvent reports that a Hello with this incarnation has been sent.
	helloSentEvent struct {
		link        *linkRunner
		incarnation uint64
	}
	// goodbyeEvent reports that the peer's Goodbye has arrived.
	goodbyeEvent struct {
		link   *linkRunner
		reason tunnel.Goodbye
	}
	// endEvent reports that a link has ended.
	endEvent struct {
		link   *linkRunner
		reason string
	}
	// limitEvent changes the limit of this agent.
	limitEvent struct{ bits uint64 }
	// sampleEvent reports that a sample of the active link is due.
	sampleEvent struct{}
	// violationEvent reports that the peer broke the protocol, so that the state cannot go on.
	violationEvent struct {
		state  *State
		reason string
	}
)

// mailbox holds the events that Run has yet to handle. Posting never blocks, so the sender may hold any lock. The
// senders bound the number of events: each of them posts an event once, or waits until Run has handled the last one.
// People cause limitEvents.
type mailbox struct {
	wake chan struct{} // receives after a post

	mu sync.Mutex
	// Guarded by mu.
	events []event
	closed bool
}

func newMailbox() mailbox { return mailbox{wake: make(chan struct{}, 1)} }

// post adds an event. It returns false if the mailbox is closed.
func (m *mailbox) post(e event) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.events = append(m.events, e)
	signal(m.wake)
	return true
}

// take returns the events in the order of their posts, and removes them.
func (m *mailbox) take() []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	events := m.events
	m.events = nil
	return events
}

// close refuses further events and returns those that are left.
func (m *mailbox) close() []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.events
}

// signal wakes the receiver of a channel with room for one value.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
