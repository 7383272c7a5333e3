package hub

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Draining peers are sent away a few at a time, so that the other instances get
// them a few at a time.
const (
	drainEvery  = 50 * time.Millisecond
	drainSpread = 5 * time.Second // in which all are told, at the latest
	drainAtOnce = 25              // peers, at least
	moveWait    = 7 * time.Second // for them to be elsewhere, after that
	movedWait   = time.Second     // before who is elsewhere is told the end
)

// Moved ends the session of a peer that has connected to another instance
// later than its session here began. One that this instance has sent there is not
// found here any more at once, and hears the end a moment later: it may still be
// about to take the new connection for its own.
func (h *Hub) Moved(id ident.PeerID, since time.Time) {
	s := h.session(id)
	if s == nil || !s.since.Before(since) {
		return
	}
	end := func() { s.bye(signal.ByeReplaced, "the same peer has connected anew") }
	if !s.isMoving() {
		end()
		return
	}
	h.leave(s)
	time.AfterFunc(movedWait, end)
}

var byeDraining = signal.Bye{Code: signal.ByeDraining, Text: "this instance of the rendezvous is stopping"}

// Drain sends every peer to another instance, a few at a time, and waits until
// all connections have ended, or byeTimeout after ctx cuts them off. No connection
// is taken from now on. Where there is another instance, a peer's connection
// serves it until the peer is there; otherwise, or if that takes too long, the
// connection ends first.
func (h *Hub) Drain(ctx context.Context) error {
	h.mu.Lock()
	h.draining = true
	sessions := make([]*session, 0, len(h.peers))
	for _, s := range h.peers {
		sessions = append(sessions, s)
	}
	h.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		h.serving.Wait()
		h.consents.asking.Wait()
		close(gone)
	}()
	if h.cluster.Others(ctx) {
		spread(ctx, sessions, (*session).move)
		moved := time.NewTimer(moveWait)
		defer moved.Stop()
		select {
		case <-gone:
		case <-moved.C:
		case <-ctx.Done():
		}
	}
	staying := slices.DeleteFunc(slices.Clone(sessions), (*session).isClosing)
	spread(ctx, staying, (*session).drained)
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	last := time.NewTimer(byeTimeout) // many may have been told just now
	defer last.Stop()
	select {
	case <-gone:
		return nil
	case <-last.C:
		for _, s := range sessions {
			s.conn.abort()
		}
		<-gone
		return fmt.Errorf("drain signalling: %w", context.Cause(ctx))
	}
}

// spread does something with each session, over a while, or at once when ctx
// ends.
func spread(ctx context.Context, sessions []*session, do func(*session)) {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	few := max(drainAtOnce, len(sessions)*int(drainEvery)/int(drainSpread)+1)
	for len(sessions) > 0 {
		n := min(few, len(sessions))
		for _, s := range sessions[:n] {
			do(s)
		}
		if sessions = sessions[n:]; len(sessions) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			few = len(sessions)
		}
	}
}
