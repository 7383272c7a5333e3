package registry

import "time"

// MaxBatch bounds the rows of one call of a store that takes or returns a batch.
const MaxBatch = 1000

// Page selects part of a list that is ordered by creation time.
type Page struct {
	After Cursor
	Limit int // at least 1
}

// Cursor is the position of an item in such a list. The zero value is before the
// first item.
type Cursor struct {
	At time.Time
	ID [8]byte
}
