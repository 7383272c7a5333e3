package cluster

import "sync"

// tasks holds the goroutines that messages start, until Run ends.
type tasks struct {
	running sync.WaitGroup

	mu     sync.Mutex // guards closed
	closed bool
}

// start runs f in a goroutine. It reports false, and does nothing, after close.
func (t *tasks) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.running.Go(f)
	return true
}

// close lets no further goroutine start.
func (t *tasks) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// wait returns when all goroutines have ended. close must have been called.
func (t *tasks) wait() { t.running.Wait() }
