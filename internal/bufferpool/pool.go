// Package bufferpool keeps the memory of the data that URBs carry for reuse.
package bufferpool

import (
	"math/bits"
	"sync"
)

// A buffer of class k holds 64<<k bytes of data and the fields in front of them. So transfers of 64 bytes to
// 4 MiB whose length is a power of two waste little.
const (
	smallestClass = 64
	classSlack    = 64
	poolClasses   = 17 // the last one holds 4 MiB of data, the longest transfer
)

// Pool keeps memory for reuse. The zero value is an empty pool. Its methods may be called
// concurrently.
type Pool struct {
	buffers [poolClasses]sync.Pool // of *[]byte
	headers sync.Pool              // of *[]byte that hold nothing
}

// Get returns a slice of n bytes. They are not cleared: they may hold what was in a buffer that was put back.
func (p *Pool) Get(n int) []byte {
	k := classOf(n)
	if k >= poolClasses {
		return make([]byte, n)
	}
	box, ok := p.buffers[k].Get().(*[]byte)
	if !ok {
		return make([]byte, n, classSize(k))
	}
	b := *box
	*box = nil
	p.headers.Put(box)
	return b[:n]
}

// Put gives b back to the pool. The caller must not use b again. Put ignores a slice whose capacity is not that of
// a class, such as one that Get did not return.
func (p *Pool) Put(b []byte) {
	k := classOf(cap(b))
	if k >= poolClasses || classSize(k) != cap(b) {
		return
	}
	box, ok := p.headers.Get().(*[]byte)
	if !ok {
		box = new([]byte)
	}
	*box = b[:0]
	p.buffers[k].Put(box)
}

// classOf returns the class of the smallest buffer that holds n bytes.
func classOf(n int) int {
	if n <= smallestClass+classSlack {
		return 0
	}
	return bits.Len(uint((n - classSlack - 1) / smallestClass))
}

// classSize returns the capacity of the buffers of class k in bytes.
func classSize(k int) int { return smallestClass<<k + classSlack }
