package bufferpool

import "testing"

func TestPoolClassesHoldWhatTheyPromise(t *testing.T) {
	for n := range 3 * smallestClass * 64 {
		k := classOf(n)
		if classSize(k) < n || k > 0 && classSize(k-1) >= n {
			t.Fatalf("%d bytes: class %d holds %d bytes", n, k, classSize(k))
		}
	}
	if k := classOf(4<<20 + classSlack); k != poolClasses-1 {
		t.Errorf("the longest transfer is of class %d, want the last one", k)
	}
}

func TestPoolReturnsSlicesOfTheRightLength(t *testing.T) {
	var p Pool
	for _, n := range []int{0, 1, 128, 129, 64<<10 + 36, classSize(poolClasses - 1), classSize(poolClasses-1) + 1} {
		for range 3 {
			b := p.Get(n)
			if len(b) != n {
				t.Errorf("Get(%d) returned %d bytes", n, len(b))
			}
			p.Put(b)
		}
	}
	p.Put(make([]byte, 5))
	p.Put(nil)
	if b := p.Get(100); len(b) != 100 {
		t.Errorf("Get(100) returned %d bytes after foreign slices were put back", len(b))
	}
}
