//go:build linux

package usbfs

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// device is an opened device. Submit passes URBs to the kernel in order. The
// goroutine reap fetches completed URBs. The goroutine changes performs the
// control requests that change the device's state, in order with the other
// control URBs.
type device struct {
	// Constant after construction.
	info        usb.Info
	descriptors usb.Descriptors
	fd          int // the same as handle.fd
	wake        *waker
	gone        chan struct{} // closed when ending is set
	joined      sync.WaitGroup
	once        sync.Once // runs the body of Close
	closeErr    error     // the result of Close

	handle *handle // owned by the goroutine changes, and by Close after its end

	mu        sync.Mutex
	changed   *sync.Cond // on mu: wakes the goroutine changes
	endpoints map[usb.Endpoint]usb.EndpointDescriptor
	pending   map[*usb.URB]*request
	running   map[uintptr]*request // requests in the kernel, by the address of their block
	backlog   []*request           // requests that wait for memory in the kernel, oldest first
	control   []*request           // control requests queued behind a change of state, oldest first
	changing  bool                 // perform is running
	controls  int                  // number of control URBs in running and backlog
	last      uint64               // number of the latest request
	ending    usb.Status           // not StatusOK: the device has ended, and new URBs get this status
}

// The kernel limits the URBs of all programs to 16 MiB in total
// (usbfs_memory_mb). A request that exceeds the limit waits until others
// complete: it is submitted again every memoryRetry and fails after
// memoryTimeout. Later requests of the same endpoint wait behind it. Those of
// other endpoints do not wait, because the device may need them before it
// completes anything.
const (
	memoryRetry   = 10 * time.Millisecond
	memoryTimeout = 5 * time.Second
)

func newDevice(h *handle, info usb.Info, d usb.Descriptors) (*device, error) {
	endpoints, err := h.endpoints(d)
	if err != nil {
		return nil, err
	}
	w, err := newWaker()
	if err != nil {
		return nil, err
	}
	dev := &device{
		info: info, descriptors: d, fd: h.fd, handle: h, wake: w, gone: make(chan struct{}), endpoints: endpoints,
		pending: make(map[*usb.URB]*request), running: make(map[uintptr]*request),
	}
	dev.changed = sync.NewCond(&dev.mu)
	return dev, nil
}

// start starts the goroutines. Close joins them.
func (d *device) start() {
	d.joined.Go(d.reap)
	d.joined.Go(d.changes)
}

// Info implements [usb.Device].
func (d *device) Info() usb.Info { return d.info }

// Gone implements [usb.Device].
func (d *device) Gone() <-chan struct{} { return d.gone }

// Submit implements [usb.Device].
func (d *device) Submit(u *usb.URB) { u.Begin(d.enqueue) }

func (d *device) enqueue(u *usb.URB) usb.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.ending != usb.StatusOK:
		return d.ending
	case len(d.pending) >= usb.MaxPending:
		return usb.StatusNoMemory
	case d.pending[u] != nil:
		return usb.StatusInvalid
	case u.Endpoint.Number() == 0 && u.SetupPacket().Harmful():
		return usb.StatusStall
	}
	r, status := d.newRequest(u)
	if status != usb.StatusOK {
		return status
	}
	d.pending[u] = r
	if r.control && (r.change() != usb.NoChange || d.changing || len(d.control) > 0) {
		d.control = append(d.control, r)
		d.changed.Broadcast()
		return usb.StatusOK
	}
	return d.launch(r)
}

// launch passes a request to the kernel. If the kernel has no memory for it, or
// an earlier request of its endpoint waits for memory, launch adds it to the
// backlog. mu must be held: it keeps the requests in order.
func (d *device) launch(r *request) usb.Status {
	err := error(unix.ENOMEM)
	if !slices.ContainsFunc(d.backlog, r.sameEndpoint) {
		err = r.submit(d.fd)
	}
	switch {
	case err == nil:
		d.running[r.address()] = r
	case errors.Is(err, unix.ENOMEM):
		r.waitingSince = time.Now()
		d.backlog = append(d.backlog, r)
		d.wake.signal()
	default:
		delete(d.pending, r.urb)
		r.unpin()
		return statusOf(err)
	}
	if r.control {
		d.controls++
	}
	return usb.StatusOK
}

// retry launches the requests in the backlog. It returns those that failed or
// waited longer than memoryTimeout, with their statuses set. mu must be held.
func (d *device) retry() (failed []*request) {
	waiting := d.backlog
	d.backlog = nil
	for _, r := range waiting {
		err := error(unix.ENOMEM)
		if !slices.ContainsFunc(d.backlog, r.sameEndpoint) {
			err = r.submit(d.fd)
		}
		switch {
		case err == nil:
			d.running[r.address()] = r
		case errors.Is(err, unix.ENOMEM) && time.Since(r.waitingSince) < memoryTimeout:
			d.backlog = append(d.backlog, r)
		default:
			r.urb.Status = statusOf(err)
			d.forget(r)
			failed = append(failed, r)
		}
	}
	return failed
}

// forget removes a request that was launched. mu must be held.
func (d *device) forget(r *request) {
	delete(d.pending, r.urb)
	delete(d.running, r.address())
	r.unpin()
	if r.control {
		d.controls--
		d.changed.Broadcast()
	}
}

// Cancel implements [usb.Device].
func (d *device) Cancel(u *usb.URB) {
	d.mu.Lock()
	r := d.pending[u]
	if r == nil {
		d.mu.Unlock()
		return
	}
	r.cancelled = true
	queued := slices.Contains(d.control, r)
	waiting := slices.Contains(d.backlog, r)
	switch {
	case queued:
		d.control = without(d.control, r)
		delete(d.pending, u)
		r.unpin()
		d.changed.Broadcast()
	case waiting:
		d.backlog = without(d.backlog, r)
		d.forget(r)
	}
	// Keep fd open during discard. The counter is not 0 here: reap runs as long
	// as there are requests.
	d.joined.Add(1)
	d.mu.Unlock()
	defer d.joined.Done()
	if queued || waiting {
		u.Finish(usb.StatusReset)
		return
	}
	r.discard(d.fd)
}

func without(list []*request, r *request) []*request {
	return slices.DeleteFunc(list, func(other *request) bool { return other == r })
}

// reap fetches completed URBs from the kernel until the device ends.
func (d *device) reap() {
	for {
		var address uintptr
		err := call(d.fd, reqReapNoDelay, unsafe.Pointer(&address))
		switch {
		case err == nil:
			d.reaped(address)
		case errors.Is(err, unix.EAGAIN):
			if d.over() {
				return
			}
			d.sleep()
		case errors.Is(err, unix.EINTR):
		default: // unplugged
			d.lost()
			return
		}
	}
}

// over reports whether the device has ended and no request is in the kernel.
func (d *device) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ending != usb.StatusOK && len(d.running) == 0
}

// sleep waits until an URB is complete, the device is unplugged, wake is
// signalled or, if the backlog is not empty, memoryRetry has passed. Then it
// retries the backlog.
func (d *device) sleep() {
	d.mu.Lock()
	timeout := -1
	if len(d.backlog) > 0 {
		timeout = int(memoryRetry.Milliseconds())
	}
	d.mu.Unlock()
	d.wake.wait(timeout, unix.PollFd{Fd: int32(d.fd), Events: unix.POLLOUT})
	d.mu.Lock()
	failed := d.retry()
	d.mu.Unlock()
	finish(failed)
}

func finish(list []*request) {
	for _, r := range list {
		r.urb.Finish(r.urb.Status)
	}
}

// reaped completes the request whose block is at address.
func (d *device) reaped(address uintptr) {
	d.mu.Lock()
	r := d.running[address]
	if r == nil {
		d.mu.Unlock()
		return
	}
	r.collect(d.ending)
	d.forget(r)
	failed := d.retry()
	d.mu.Unlock()
	finish(append([]*request{r}, failed...))
}

// end makes all further submissions fail with s and completes the requests that
// the kernel does not have.
func (d *device) end(s usb.Status) {
	d.mu.Lock()
	if d.ending == usb.StatusOK {
		d.ending = s
		close(d.gone)
	}
	var list []*request
	for _, r := range d.backlog {
		d.forget(r)
		list = append(list, r)
	}
	for _, r := range d.control {
		delete(d.pending, r.urb)
		r.unpin()
		list = append(list, r)
	}
	d.backlog, d.control = nil, nil
	for _, r := range list {
		r.urb.Status = d.ending
	}
	d.changed.Broadcast()
	d.mu.Unlock()
	d.wake.signal()
	finish(list)
}

// lost completes all requests after the device was unplugged: the kernel has
// dropped its URBs.
func (d *device) lost() {
	d.end(usb.StatusNoDevice)
	d.mu.Lock()
	list := d.oldestFirst()
	for _, r := range list {
		r.urb.Status = usb.StatusNoDevice
		d.forget(r)
	}
	d.mu.Unlock()
	finish(list)
}

// oldestFirst returns the requests in the kernel in the order of submission. mu
// must be held.
func (d *device) oldestFirst() []*request {
	return slices.SortedFunc(maps.Values(d.running), func(a, b *request) int { return cmp.Compare(a.number, b.number) })
}

// Close implements [usb.Device].
func (d *device) Close() error {
	d.once.Do(func() {
		d.end(usb.StatusShutdown)
		d.mu.Lock()
		list := d.oldestFirst()
		d.mu.Unlock()
		for _, r := range slices.Backward(list) { // newest first, so that no queued URB starts
			r.discard(d.fd)
		}
		d.joined.Wait()
		d.closeErr = errors.Join(d.handle.giveBack(d.info.Configuration), d.wake.close())
		if d.closeErr != nil {
			d.closeErr = fmt.Errorf("close of USB device %s: %w", d.info.ID, d.closeErr)
		}
	})
	return d.closeErr
}
