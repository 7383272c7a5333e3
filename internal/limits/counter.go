package limits

import "sync"

// Counter counts what is open at a time for each key, such as the connections of each source. It remembers only the
// keys that have something open.
type Counter[K comparable] struct {
	perKey int // static
	total  int // static; 0: unbounded

	mu   sync.Mutex
	open map[K]int // guarded by mu
	all  int       // guarded by mu
}

// NewCounter returns a counter with a bound for each key and a bound for all keys together. A total of 0 means that
// only the bound for each key applies.
func NewCounter[K comparable](perKey, total int) *Counter[K] {
	return &Counter[K]{perKey: perKey, total: total, open: map[K]int{}}
}

// Enter counts one more for key and returns true, or returns false if that would exceed a bound. Each successful Enter
// needs one Leave.
func (c *Counter[K]) Enter(key K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[key] >= c.perKey || c.total > 0 && c.all >= c.total {
		return false
	}
	c.open[key]++
	c.all++
	return true
}

// Leave counts one less for key. It panics if nothing is open for key.
func (c *Counter[K]) Leave(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.open[key]
	switch n {
	case 0:
		panic("limits: Leave without Enter")
	case 1:
		delete(c.open, key)
	default:
		c.open[key] = n - 1
	}
	c.all--
}

// Len returns how many are open for all keys together.
func (c *Counter[K]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}
