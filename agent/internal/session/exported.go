package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// exportedAttachment is an attachment of the peer to a device of this agent. Its goroutine opens the device, waits for
// the end, and gives the device back:
//
//	opening ──► open ──► ending ──► done
//	   └───────────────────▲
type exportedAttachment struct {
	// Static after construction.
	session     *Session
	attachments *attachments // that it belongs to
	request     tunnel.Attach
	group       *transport.Group
	cancel      context.CancelFunc // ends the opening
	ending      chan struct{}      // closed by end
	done        chan struct{}      // closed when the device was given back, or was not opened
	streams     streams

	order sync.Mutex // held while URBs are handed to the device, so that they keep their order; taken before mu

	mu sync.Mutex
	// Guarded by mu.
	dev     usb.Device // nil until it is open
	name    string
	since   time.Time
	urbs    urbTable
	isOver  bool
	code    tunnel.Code
	reason  string
	traffic traffic
}

func newExportedAttachment(a *attachments, m tunnel.Attach, cancel context.CancelFunc) *exportedAttachment {
	x := &exportedAttachment{
		session: a.session, attachments: a, request: m, cancel: cancel,
		ending: make(chan struct{}), done: make(chan struct{}),
	}
	x.group = a.lanes.NewGroup(m.Attachment, x)
	x.group.SetLimit(m.Limit)
	return x
}

// serve opens the device and gives it back at the end. It waits for earlier attachments to give the same device back.
func (x *exportedAttachment) serve(ctx context.Context, earlier []*exportedAttachment) {
	defer x.cancel()
	defer close(x.done)
	for _, o := range earlier {
		<-o.done
	}
	dev, err := x.session.cfg.Host.Open(ctx, x.request)
	if err != nil {
		x.end(codeOf(err), err.Error())
		x.mu.Lock()
		failure := tunnel.AttachFailure{Attachment: x.request.Attachment, Code: x.code, Message: x.reason}
		x.mu.Unlock()
		x.attachments.conclude(x, tunnel.KindAttachFailed, failure.Encode())
		return
	}
	if n := len(dev.Info().Descriptors); n > tunnel.MaxDescriptors {
		x.end(tunnel.CodeFailed, fmt.Sprintf("its descriptors are %d bytes long, at most %d can be shared",
			n, tunnel.MaxDescriptors))
	}
	if x.open(dev) {
		select {
		case <-x.ending:
		case <-dev.Gone():
			x.end(tunnel.CodeUnplugged, "the device was unplugged from its host")
		}
	}
	if err := dev.Close(); err != nil {
		x.session.log.Warn("giving a device back failed", "device", x.request.Device, "err", err)
	}
	x.mu.Lock()
	reply := tunnel.DetachReply{Attachment: x.request.Attachment, Code: x.code, Reason: x.reason}
	x.mu.Unlock()
	x.attachments.conclude(x, tunnel.KindDetached, reply.Encode())
}

// open lets the peer submit URBs to the device. It returns false if the attachment has ended.
func (x *exportedAttachment) open(dev usb.Device) bool {
	info := dev.Info()
	types := endpointTypes(info.Descriptors)
	x.mu.Lock()
	if x.isOver {
		x.mu.Unlock()
		return false
	}
	x.dev, x.name, x.since = dev, info.Name(), time.Now()
	for e, t := range types {
		x.urbs.endpoints[endpointSlot(e)].types = t
	}
	for i, class := range laneClasses(info.Descriptors) {
		x.urbs.endpoints[i].class = class
	}
	x.mu.Unlock()
	for e := range types {
		x.group.Allow(uint8(e))
	}
	reply := tunnel.AttachReply{Attachment: x.request.Attachment, Device: Describe(info)}
	if guard, ok := dev.(interface{ Guarded() bool }); ok {
		reply.Guarded = x.request.Ahead && guard.Guarded()
	}
	if iso, ok := dev.(isochronous); ok && x.request.Isochronous {
		x.streams.set(iso.Isochronous(x.group.Cast))
		reply.Isochronous = true
	}
	x.attachments.push(tunnel.KindAttached, reply.Encode())
	x.session.events.add(Event{Kind: Attachments})
	return true
}

// end ends the attachment. The peer receives the code and the reason. It does not wait.
func (x *exportedAttachment) end(code tunnel.Code, reason string) {
	x.mu.Lock()
	if x.isOver {
		x.mu.Unlock()
		return
	}
	x.isOver, x.code, x.reason = true, code, reason
	x.urbs.dropParked()
	x.mu.Unlock()
	x.cancel()
	x.group.Close()
	close(x.ending)
}

// isEnding reports whether end was called.
func (x *exportedAttachment) isEnding() bool {
	select {
	case <-x.ending:
		return true
	default:
		return false
	}
}

func (x *exportedAttachment) isOpen() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dev != nil
}

// Violated ends the attachment because the client broke the protocol.
func (x *exportedAttachment) Violated(reason string) { x.end(tunnel.CodeProtocol, reason) }

// status returns false while the device is not open.
func (x *exportedAttachment) status() (AttachmentStatus, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.traffic.status(AttachmentStatus{
		Number: x.request.Attachment, Device: x.request.Device, Name: x.name, Since: x.since, Pending: x.urbs.live,
		Limit: x.request.Limit,
	}), !x.since.IsZero()
}
