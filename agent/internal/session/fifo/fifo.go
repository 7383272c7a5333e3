// Package fifo provides a queue that reuses its memory: in a steady state it allocates nothing.
package fifo

// Queue is a first-in, first-out queue. The zero value is an empty queue.
type Queue[T any] struct {
	items []T
	head  int // items[:head] are free
}

// Len returns the number of items.
func (q *Queue[T]) Len() int { return len(q.items) - q.head }

// At returns a pointer to the i-th item, counted from the front. It is valid until the next Push, Pop or Delete.
func (q *Queue[T]) At(i int) *T { return &q.items[q.head+i] }

// Push appends an item. It moves the items to the front of the memory if at least half of the memory is free there, so
// the cost of moving is constant for each item.
func (q *Queue[T]) Push(v T) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

// Pop removes the first item and returns it. The queue must not be empty.
func (q *Queue[T]) Pop() T {
	v := q.items[q.head]
	q.Drop(1)
	return v
}

// Drop removes the first n items.
func (q *Queue[T]) Drop(n int) {
	clear(q.items[q.head : q.head+n])
	q.head += n
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
}

// Delete removes the i-th item, counted from the front.
func (q *Queue[T]) Delete(i int) {
	at := q.head + i
	copy(q.items[at:], q.items[at+1:])
	last := len(q.items) - 1
	clear(q.items[last:])
	q.items = q.items[:last]
}
