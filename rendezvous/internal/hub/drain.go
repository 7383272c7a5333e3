package hub

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// A draining hub disconnects a few peers at a time, so that the other instances get a few at a time.
const (
	drainInterval = 50 * time.Millisecond
	drainSpread   = 5 * time.Second // in which all peers have been notified
	drainBatch    = 25              // the smallest number of peers per interval
	moveTimeout   = 7 * time.Second // for the peers to connect to another instance, after that
	movedByeDelay = time.Second     // before a peer that has moved gets its Bye
)

// Moved ends the connection of a peer that has connected to another instance at since, if its connection to this
// instance is older. If this instance had asked the peer to move, the peer is absent at once, and gets its Bye a
// moment later: otherwise it could take the end of the old connection for the end of the new one.
func (h *Hub) Moved(id ident.PeerID, since time.Time) {
	c := h.connection(id)
	if c == nil || !c.since.Before(since) {
		return
	}
	end := func() { c.bye(byeReplaced) }
	if !c.isMoving() {
		end()
		return
	}
	h.leave(c)
	time.AfterFunc(movedByeDelay, end)
}

// Drain refuses new connections, moves the peers to other instances, a few at a time, and waits until all connections
// have ended. If there is another instance, the connection of a peer serves the peer until it has moved. Otherwise,
// or if that takes too long, Drain ends the connection first. When ctx ends, Drain aborts the connections after
// byeTimeout and returns an error.
func (h *Hub) Drain(ctx context.Context) error {
	h.mu.Lock()
	h.draining = true
	all := make([]*connection, 0, len(h.peers))
	for _, c := range h.peers {
		all = append(all, c)
	}
	h.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		h.serving.Wait()
		h.consents.lookups.Wait()
		close(ended)
	}()
	if h.cluster.Others(ctx) {
		spread(ctx, all, (*connection).move)
		moved := time.NewTimer(moveTimeout)
		defer moved.Stop()
		select {
		case <-ended:
		case <-moved.C:
		case <-ctx.Done():
		}
	}
	left := slices.DeleteFunc(slices.Clone(all), (*connection).isClosing)
	spread(ctx, left, func(c *connection) { c.bye(byeDraining) })
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	last := time.NewTimer(byeTimeout) // many peers may have got their Bye just now
	defer last.Stop()
	select {
	case <-ended:
		return nil
	case <-last.C:
		for _, c := range all {
			c.stream.abort()
		}
		<-ended
		return fmt.Errorf("drain signalling: %w", context.Cause(ctx))
	}
}

// spread calls do for each connection, spread over drainSpread. When ctx ends, it calls do for the others immediately.
func spread(ctx context.Context, all []*connection, do func(*connection)) {
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	batch := max(drainBatch, len(all)*int(drainInterval)/int(drainSpread)+1)
	for len(all) > 0 {
		n := min(batch, len(all))
		for _, c := range all[:n] {
			do(c)
		}
		if all = all[n:]; len(all) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			batch = len(all)
		}
	}
}
