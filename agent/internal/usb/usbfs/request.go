//go:build linux

package usbfs

import (
	"errors"
	"runtime"
	"time"
	"unsafe"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"golang.org/x/sys/unix"
)

// request is an URB in the kernel's layout. The kernel uses the addresses of
// block and buffer until the URB is reaped, so both are pinned until then.
type request struct {
	urb     *usb.URB
	number  uint64 // counts requests in the order of submission
	control bool
	block   []uint64 // a kernelURB followed by its kernelPackets; uint64 for the alignment
	buffer  []byte   // urb.Data, or a copy in the layout that the kernel needs
	pinner  runtime.Pinner

	// Guarded by device.mu.
	cancelled    bool
	waitingSince time.Time // when the kernel had no memory for it first
}

func (r *request) change() usb.Change { return r.urb.SetupPacket().Change() }

func (r *request) kernel() *kernelURB { return (*kernelURB)(unsafe.Pointer(&r.block[0])) }

func (r *request) address() uintptr { return uintptr(unsafe.Pointer(&r.block[0])) }

// sameEndpoint reports whether both requests are for the same endpoint, so that
// they must stay in order.
func (r *request) sameEndpoint(other *request) bool {
	return r.kernel().endpoint == other.kernel().endpoint
}

// packets returns the packets in block.
func (r *request) packets() []kernelPacket {
	n := len(r.urb.Packets)
	if n == 0 {
		return nil
	}
	first := unsafe.Add(unsafe.Pointer(&r.block[0]), unsafe.Sizeof(kernelURB{}))
	return unsafe.Slice((*kernelPacket)(first), n)
}

// newRequest converts an URB that has passed Check. d.mu must be held.
func (d *device) newRequest(u *usb.URB) (*request, usb.Status) {
	size := unsafe.Sizeof(kernelURB{}) + uintptr(len(u.Packets))*unsafe.Sizeof(kernelPacket{})
	d.last++
	r := &request{urb: u, number: d.last, block: make([]uint64, (size+7)/8), buffer: u.Data}
	k := r.kernel()
	k.endpoint = uint8(u.Endpoint)
	if u.Endpoint.Number() == 0 {
		r.control = true
		k.kind, k.endpoint = kindControl, 0
		r.buffer = make([]byte, 8+int(u.SetupPacket().Length))
		copy(r.buffer, u.Setup[:])
		if !u.In() {
			copy(r.buffer[8:], u.Data)
		}
	} else if status := d.describe(r, k); status != usb.StatusOK {
		return nil, status
	}
	if u.Flags&usb.ShortNotOK != 0 && u.In() && k.kind != kindIsochronous {
		k.flags |= flagShortNotOK
	}
	k.length = int32(len(r.buffer))
	r.pinner.Pin(&r.block[0])
	if len(r.buffer) > 0 {
		r.pinner.Pin(&r.buffer[0])
		k.buffer = uintptr(unsafe.Pointer(&r.buffer[0]))
	}
	return r, usb.StatusOK
}

// describe sets the fields of k that depend on the endpoint.
func (d *device) describe(r *request, k *kernelURB) usb.Status {
	u := r.urb
	e, ok := d.endpoints[u.Endpoint]
	if !ok || (e.Type == usb.Isochronous) != (len(u.Packets) > 0) {
		return usb.StatusInvalid
	}
	switch e.Type {
	case usb.Bulk:
		k.kind = kindBulk
		if u.Flags&usb.ZeroPacket != 0 && !u.In() {
			k.flags |= flagZeroPacket
		}
	case usb.Interrupt:
		k.kind = kindInterrupt
	case usb.Isochronous:
		// StartFrame counts the frames of the remote computer's host controller,
		// so the kernel must choose the frame.
		k.kind, k.flags = kindIsochronous, flagIsoASAP
		k.packets = int32(len(u.Packets))
		total := 0
		for i, p := range u.Packets {
			r.packets()[i].length = p.Length
			total += int(p.Length)
		}
		if total != len(u.Data) { // the kernel does not support gaps between packets
			r.buffer = make([]byte, total)
			if !u.In() {
				r.eachPacket(func(buffer, data []byte) { copy(buffer, data) })
			}
		}
	default:
		return usb.StatusInvalid
	}
	return usb.StatusOK
}

// eachPacket calls f for every packet with its part of r.buffer and its part of
// the URB's data.
func (r *request) eachPacket(f func(buffer, data []byte)) {
	at := uint32(0)
	for _, p := range r.urb.Packets {
		f(r.buffer[at:at+p.Length], r.urb.Data[p.Offset:p.Offset+p.Length])
		at += p.Length
	}
}

func (r *request) unpin() { r.pinner.Unpin() }

func (r *request) submit(fd int) error { return call(fd, reqSubmit, unsafe.Pointer(&r.block[0])) }

// discard cancels the request in the kernel. It may be called at any time, also
// when the request is already reaped: while r is reachable, no other request has
// its address.
func (r *request) discard(fd int) { _ = call(fd, reqDiscard, unsafe.Pointer(&r.block[0])) }

// collect copies the result into the URB. ending is device.ending.
func (r *request) collect(ending usb.Status) {
	k, u := r.kernel(), r.urb
	u.Status, u.StartFrame, u.ErrorCount = usb.Status(k.status), k.startFrame, k.errorCount
	if u.Status.Cancelled() { // the kernel uses the same status when it ends URBs by itself
		switch {
		case r.cancelled:
			u.Status = usb.StatusReset
		case ending != usb.StatusOK:
			u.Status = ending
		default:
			u.Status = usb.StatusShutdown
		}
	}
	u.Actual = max(0, min(int(k.actual), len(u.Data)))
	switch {
	case r.control && u.In():
		copy(u.Data[:u.Actual], r.buffer[8:])
		if int(k.actual) > len(u.Data) {
			u.Status = usb.StatusOverflow
		}
	case k.kind == kindIsochronous:
		r.collectPackets()
	}
}

func (r *request) collectPackets() {
	u := r.urb
	for i, p := range r.packets() {
		u.Packets[i].Actual = min(p.actual, u.Packets[i].Length)
		u.Packets[i].Status = usb.Status(int32(p.status))
	}
	if u.In() && len(r.buffer) != len(u.Data) {
		r.eachPacket(func(buffer, data []byte) { copy(data, buffer) })
	}
}

// statusOf converts the error of an ioctl to the status of an URB.
func statusOf(err error) usb.Status {
	var e unix.Errno
	switch {
	case err == nil:
		return usb.StatusOK
	case !errors.As(err, &e):
		return usb.StatusIO
	case e == unix.ENOENT, e == unix.ECONNRESET: // no such endpoint; as a status it would mean a cancellation
		return usb.StatusInvalid
	}
	return -usb.Status(e)
}
