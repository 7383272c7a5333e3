package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// links holds the links that this instance has dialed, at most one to each other
// instance.
type links struct {
	// Static.
	tls   *tls.Config // nil if this instance has no links
	lease *lease
	tasks *tasks
	now   func() time.Time
	log   *slog.Logger

	// Guarded by mu.
	mu          sync.Mutex
	byName      map[string]*link
	unreachable map[string]bool // instances that could not be dialed or fell silent
	closed      bool
}

// mutualTLS returns the TLS configuration of either end of a link: both ends
// authenticate with the key of the cluster.
func mutualTLS(key ident.Key) (*tls.Config, error) {
	want := key.ID()
	return ident.MutualTLS(key, alpn, func(id ident.PeerID) error {
		if id != want {
			return errors.New("the other end does not have the cluster's key")
		}
		return nil
	})
}

// usable reports whether this instance can have links now.
func (s *links) usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tls != nil && !s.closed
}

// get returns the link to a member, dialing it if needed. It waits until the link
// is ready, unless the last attempt failed: then messages for that instance fail
// at once. Errors are signal.Failures.
func (s *links) get(ctx context.Context, member presence.Instance) (*link, error) {
	s.mu.Lock()
	l := s.byName[member.Name]
	switch {
	case s.closed, member.Address == "":
		l = nil
	case l == nil && !s.unreachable[member.Name]:
		l = s.dialLocked(member)
	}
	s.mu.Unlock()
	if l == nil {
		return nil, signal.FailureUnavailable
	}
	if !l.retry {
		select {
		case <-l.ready:
		case <-ctx.Done():
		}
	}
	select {
	case <-l.ready:
		if l.out != nil {
			return l, nil
		}
	default:
	}
	return nil, signal.FailureUnavailable
}

// dialLocked starts to dial a member to which there is no link. It returns nil if
// the member cannot be dialed. mu must be held.
func (s *links) dialLocked(member presence.Instance) *link {
	if s.closed || s.tls == nil || member.Address == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{
		ready: make(chan struct{}), retry: s.unreachable[member.Name], stop: cancel,
		pending: map[uint32]pendingMessage{},
	}
	if !s.tasks.start(func() { defer cancel(); s.run(ctx, l, member) }) {
		cancel()
		return nil
	}
	s.byName[member.Name] = l
	return l
}

// run dials a member and serves the link until it ends.
func (s *links) run(ctx context.Context, l *link, member presence.Instance) {
	conn, err := s.dial(ctx, member)
	s.note(ctx, member.Name, err)
	if err == nil {
		if err = l.run(ctx, conn, s.now); errors.Is(err, os.ErrDeadlineExceeded) {
			s.note(ctx, member.Name, err) // it is silent: the next message does not wait to find that out
		}
	} else {
		l.fail()
		close(l.ready)
	}
	if ctx.Err() == nil && !l.retry {
		s.log.Warn("the link to another instance failed", "instance", member.Name, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName[member.Name] == l {
		delete(s.byName, member.Name)
	}
}

func (s *links) dial(ctx context.Context, member presence.Instance) (net.Conn, error) {
	h, _ := s.lease.holder()
	return dial(ctx, member.Address, s.tls, hello{wanted: member.Epoch, own: h.Epoch, name: h.Instance})
}

// note stores whether an instance can be reached.
func (s *links) note(ctx context.Context, instance string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && s.unreachable[instance]:
		delete(s.unreachable, instance)
		s.log.Info("the link to another instance works again", "instance", instance)
	case err != nil && ctx.Err() == nil:
		s.unreachable[instance] = true
	}
}

// update stops the links to instances that are no longer members, and dials the
// members again that could not be reached.
func (s *links) update(members map[string]presence.Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.byName {
		if _, ok := members[name]; !ok {
			l.stop()
			delete(s.byName, name)
		}
	}
	for name := range s.unreachable {
		if member, ok := members[name]; !ok {
			delete(s.unreachable, name)
		} else if s.byName[name] == nil {
			s.dialLocked(member)
		}
	}
}

// count returns the number of links.
func (s *links) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byName)
}

// close stops all links. No link is dialed afterwards.
func (s *links) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, l := range s.byName {
		l.stop()
	}
}
