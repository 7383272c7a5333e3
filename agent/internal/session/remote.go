package session

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/session/fifo"
	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// closeTimeout bounds the time that Close waits for the host to have the device back.
const closeTimeout = 5 * time.Second

// remoteDevice is a device of the peer that this agent uses.
//
//	requested ──Attached──► attached ──Detached, or dropped──► forgotten
//	    │                      │                                   ▲
//	    │                      └──Close──► detaching ──────────────┤
//	    └──AttachFailed────────────────────────────────────────────┘
type remoteDevice struct {
	// Static after construction.
	session     *Session
	attachments *attachments // that it belongs to
	device      string       // its id on its host
	number      uint16       // of its attachment
	limit       uint64       // see tunnel.Attach
	group       *transport.Group
	answered    chan struct{} // closed when the host has attached it
	streams     streams
	gone        chan struct{} // closed when it has ended for this agent
	detached    chan struct{} // closed when it is forgotten

	// Guarded by Session.mu until answered is closed, static then.
	info        usb.Info
	guarded     bool
	isochronous bool
	classes     [endpointSlots]tunnel.Class // of the lanes
	since       time.Time

	mu sync.Mutex
	// Guarded by mu.
	waiting     fifo.Queue[*usb.URB] // submitted here, not sent: too many are in flight
	flow        flow
	abandoned   int // pending URBs that were completed here, cancelled and without a link
	endpoints   [endpointSlots]remoteEndpoint
	packets     []tunnel.Packet // for a Submit that is being encoded
	traffic     traffic
	over        usb.Status // of every URB once it has ended; 0 before
	why         error
	isForgotten bool
}

// remoteEndpoint is an endpoint of a remote device.
type remoteEndpoint struct {
	lane    *transport.OutLane     // nil until it is used
	pending fifo.Queue[pendingURB] // in the order of their numbers
}

// Info returns the description that the host sent when it attached the device.
func (d *remoteDevice) Info() usb.Info { return d.info }

// Guarded reports whether the host runs marked URBs in order; see tunnel.AttachReply.
func (d *remoteDevice) Guarded() bool { return d.guarded }

// Isochronous makes receive handle the lossy frames of the host, on any goroutine. It returns the function that sends
// lossy frames to the host. It returns false if the host understands none.
func (d *remoteDevice) Isochronous(receive func(tunnel.Frame)) (cast func(uint8, tunnel.Kind, ...[]byte), ok bool) {
	if d.isochronous {
		d.streams.set(receive)
	}
	return d.group.Cast, d.isochronous
}

// RoundTrip returns the round trip of the link, or 0 if it is not measured or no link is up.
func (d *remoteDevice) RoundTrip() time.Duration {
	l, _ := d.session.ActiveLink()
	return l.Stats.RTT
}

// Gone is closed when the device was detached or unplugged, or the session was reset.
func (d *remoteDevice) Gone() <-chan struct{} { return d.gone }

// Why returns why the device is gone, or nil while it is not.
func (d *remoteDevice) Why() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why
}

// Close gives the device back. Pending URBs complete with StatusShutdown. Close waits up to closeTimeout for the host
// to have the device back.
func (d *remoteDevice) Close() error {
	d.detach(&EndedError{tunnel.CodeDetached, "as asked for"})
	if !d.session.Linked() {
		return nil
	}
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-d.detached:
	case <-timer.C:
	case <-d.session.over:
	}
	return nil
}

// Reject ends the attachment because the device has other descriptors than those that were agreed to. Why then returns
// an error that wraps ErrChanged.
func (d *remoteDevice) Reject(detail string) { d.detach(fmt.Errorf("%w: %s", ErrChanged, detail)) }

// detach ends the attachment from this side.
func (d *remoteDevice) detach(reason error) {
	if d.end(reason, usb.StatusShutdown) {
		d.attachments.sendDetach(d)
	}
}

// forget ends the device once the session has removed it from its attachments.
func (d *remoteDevice) forget(reason error, status usb.Status) {
	d.end(reason, status)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isForgotten {
		d.isForgotten = true
		close(d.detached)
	}
}

// end closes the lanes and completes all URBs with status. It returns false if the device had ended before.
func (d *remoteDevice) end(reason error, status usb.Status) bool {
	d.mu.Lock()
	if d.over != 0 {
		d.mu.Unlock()
		return false
	}
	d.over, d.why = status, reason
	left := d.takeURBs(func(*pendingURB) bool { return true })
	for d.waiting.Len() > 0 {
		left = append(left, d.waiting.Pop())
	}
	for i := range d.endpoints {
		d.endpoints[i].pending = fifo.Queue[pendingURB]{}
	}
	d.mu.Unlock()
	d.group.Close()
	close(d.gone)
	for _, u := range left {
		u.Finish(status)
	}
	return true
}

// takeURBs takes the URBs of some pending submissions away from them, in the order of their numbers. mu must be held.
func (d *remoteDevice) takeURBs(match func(*pendingURB) bool) []*usb.URB {
	var found []*pendingURB
	for i := range d.endpoints {
		e := &d.endpoints[i]
		for j := range e.pending.Len() {
			if p := e.pending.At(j); p.urb != nil && match(p) {
				found = append(found, p)
			}
		}
	}
	slices.SortFunc(found, func(a, b *pendingURB) int { return cmp.Compare(a.number, b.number) })
	urbs := make([]*usb.URB, len(found))
	for i, p := range found {
		urbs[i], p.urb = p.urb, nil
	}
	return urbs
}

// abandonCancelled completes the cancelled URBs. Their results are not expected soon, because the last link was lost.
func (d *remoteDevice) abandonCancelled() {
	d.mu.Lock()
	urbs := d.takeURBs(func(p *pendingURB) bool { return p.cancelled })
	d.abandoned += len(urbs)
	d.mu.Unlock()
	for _, u := range urbs {
		u.Finish(usb.StatusReset)
	}
}

// Violated ends the attachment because the host broke the protocol.
func (d *remoteDevice) Violated(reason string) { d.detach(&EndedError{tunnel.CodeProtocol, reason}) }

// status returns false while the device is not attached.
func (d *remoteDevice) status() (AttachmentStatus, bool) {
	select {
	case <-d.answered:
	default:
		return AttachmentStatus{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	pending := d.waiting.Len()
	for i := range d.endpoints {
		e := &d.endpoints[i]
		for j := range e.pending.Len() {
			if e.pending.At(j).urb != nil {
				pending++
			}
		}
	}
	return d.traffic.status(AttachmentStatus{
		Number: d.number, Client: true, Device: d.device, Name: d.info.Name(), Since: d.since, Pending: pending,
		Limit: d.limit,
	}), true
}
