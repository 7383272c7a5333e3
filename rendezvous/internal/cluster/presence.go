package cluster

import (
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// changes holds the connections and disconnections of peers that are not in the
// store yet.
type changes struct {
	wake chan struct{} // has a buffer of one; receives when there is something to write

	// Guarded by mu.
	mu     sync.Mutex
	byPeer map[ident.PeerID]change // the newest of each peer
}

type change struct {
	since     time.Time // when the connection began
	connected bool
}

func newChanges() *changes {
	return &changes{wake: make(chan struct{}, 1), byPeer: map[ident.PeerID]change{}}
}

// add replaces the change of a peer by a newer one.
func (c *changes) add(id ident.PeerID, n change) {
	c.mu.Lock()
	c.byPeer[id] = n
	c.mu.Unlock()
	c.wakeWriter()
}

// wakeWriter makes the writer write what there is.
func (c *changes) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// addAll adds that peers are connected, unless there is a newer change.
func (c *changes) addAll(peers map[ident.PeerID]time.Time) {
	for id, since := range peers {
		c.putBack(id, change{since, true})
	}
	c.wakeWriter()
}

// putBack adds a change unless there is a newer one.
func (c *changes) putBack(id ident.PeerID, old change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byPeer[id]; !ok {
		c.byPeer[id] = old
	}
}

// putBackRows adds the changes of rows that could not be written.
func (c *changes) putBackRows(rows []presence.Connection, connected bool) {
	for _, r := range rows {
		c.putBack(r.Peer, change{r.Since, connected})
	}
}

// take removes up to a batch of changes and returns the rows to write and to
// remove.
func (c *changes) take() (put, remove []presence.Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.byPeer {
		if len(put)+len(remove) == registry.MaxBatch {
			break
		}
		delete(c.byPeer, id)
		row := presence.Connection{Peer: id, Since: n.since}
		if n.connected {
			put = append(put, row)
		} else {
			remove = append(remove, row)
		}
	}
	return put, remove
}

// count returns the number of changes.
func (c *changes) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byPeer)
}
