package enumeration

import (
	"maps"
	"slices"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/counts"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/outbox"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Stage is the enumeration stage of one device.
type Stage struct {
	usb.Device
	box    *outbox.Outbox
	active usb.Configuration
	parsed usb.Descriptors
	agreed map[request][]byte // descriptors that were agreed to

	mu       sync.Mutex // guards the fields below
	answers  map[request]answer
	underWay map[request]*usb.URB // requests of the stage whose answers it wants
	queue    []*transfer          // control transfers of the driver that are not complete, in order
	closed   bool
	finding  finding
	work     work
}

// finding is a descriptor that differs from the one that was agreed to.
type finding struct {
	report func(detail string) // ends the attachment; nil: nobody wants to know, or it was called
	detail string              // not reported yet
}

// work counts what the stage has done.
type work struct {
	commands, hits int64
	fetched, read  int64           // bytes
	readOf         map[request]int // bytes of each answer that a driver has got
}

// transfer is a control transfer of the driver. Those that the device has come before those
// that wait for an answer on its way.
type transfer struct {
	urb  *usb.URB
	sent *usb.URB // the copy that the device has; nil: it waits
}

// New returns dev with the enumeration stage. It returns nil and the reason if the stage
// does not work with the device.
func New(dev usb.Device) (*Stage, string) {
	info := dev.Info()
	parsed, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		return nil, "the descriptors of the device are malformed"
	}
	s := &Stage{
		Device: dev, box: outbox.New(dev), parsed: parsed, agreed: map[request][]byte{},
		answers: map[request]answer{}, underWay: map[request]*usb.URB{}, work: work{readOf: map[request]int{}},
	}
	s.active, _ = parsed.Configuration(info.Configuration)
	s.agreed[descriptor(typeDevice, 0, 0)] = parsed.Device
	for i, c := range parsed.Configurations {
		s.agreed[descriptor(typeConfiguration, uint8(i), 0)] = c.Raw
	}
	for r, b := range s.agreed {
		if isWhole(b) {
			s.answers[r] = whole(b)
		}
	}
	return s, ""
}

// isWhole reports whether the host has sent the whole descriptor. The kernel cuts
// configurations that the device does not send completely.
func isWhole(b []byte) bool {
	return b[1] == typeDevice || len(b) == int(b[2])|int(b[3])<<8
}

// Stats returns why the stage is off for good, if it is, and what it has done.
func (s *Stage) Stats() (off string, work counts.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.work
	return "", counts.Counts{
		Commands: w.commands, Hits: w.hits, Ahead: w.fetched, Discarded: w.fetched - w.read,
	}
}

// Submit implements [usb.Device].
func (s *Stage) Submit(u *usb.URB) {
	if u.Endpoint.Number() != 0 {
		s.Device.Submit(u)
		return
	}
	u.Begin(s.enqueue)
}

// enqueue accepts a control URB of the driver.
func (s *Stage) enqueue(u *usb.URB) usb.Status {
	s.mu.Lock()
	if s.closed {
		s.box.Finish(u, usb.StatusShutdown)
	} else {
		s.queue = append(s.queue, &transfer{urb: u})
		s.advance()
	}
	s.mu.Unlock()
	s.box.Run()
	return usb.StatusOK
}

// advance answers the transfers that wait, or passes them to the device. mu must be
// held.
func (s *Stage) advance() {
	for i := 0; i < len(s.queue); {
		t := s.queue[i]
		r := requestOf(t.urb.SetupPacket())
		switch {
		case t.sent != nil:
			i++
		case i > 0: // the device keeps the order
			s.pass(t)
		case s.answer(t.urb, r):
			s.queue = slices.Delete(s.queue, 0, 1)
		case s.underWay[r] != nil:
			return
		default:
			s.pass(t)
		}
	}
}

// answer completes u if its answer has arrived. mu must be held.
func (s *Stage) answer(u *usb.URB, r request) bool {
	a, ok := s.answers[r]
	length := int(u.SetupPacket().Length)
	if !ok || length == 0 || length > len(u.Data) {
		return false
	}
	data, status, ok := a.serve(length)
	if !ok {
		return false
	}
	s.work.commands++
	s.work.hits++
	if n := len(data) - s.work.readOf[r]; n > 0 && s.agreed[r] == nil {
		s.work.read += int64(n)
		s.work.readOf[r] = len(data)
	}
	u.Actual = copy(u.Data, data)
	if status == usb.StatusOK && u.Actual < len(u.Data) && u.Flags&usb.ShortNotOK != 0 {
		status = usb.StatusShortRead
	}
	s.box.Finish(u, status)
	return true
}

// pass passes a transfer to the device. mu must be held.
func (s *Stage) pass(t *transfer) {
	u := t.urb
	setup := u.SetupPacket()
	switch damageOf(setup, s.active.Value) {
	case aDevice:
		s.drop(func(request) bool { return true })
	case anInterface:
		s.drop(func(r request) bool { return r.ofInterface(setup.Index) })
	}
	s.work.commands++
	t.sent = &usb.URB{Endpoint: u.Endpoint, Setup: u.Setup, Flags: u.Flags, Data: u.Data, Interval: u.Interval}
	t.sent.Done = func(*usb.URB) { s.done(t) }
	s.box.Submit(t.sent)
}

// drop drops the answers that match, also those that are on their way. mu must be held.
func (s *Stage) drop(match func(request) bool) {
	maps.DeleteFunc(s.answers, func(r request, _ answer) bool { return match(r) })
	maps.DeleteFunc(s.underWay, func(r request, _ *usb.URB) bool { return match(r) })
}

// done handles the completion of a transfer that the device had.
func (s *Stage) done(t *transfer) {
	s.mu.Lock()
	u := t.urb
	u.Actual, u.StartFrame = t.sent.Actual, t.sent.StartFrame
	if t.sent.In() && u.Actual <= len(u.Data) {
		s.compare(requestOf(u.SetupPacket()), u.Data[:u.Actual], t.sent.Status)
	}
	if i := slices.Index(s.queue, t); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	s.box.Finish(u, t.sent.Status)
	s.finish()
}

// finish unlocks mu and performs the consequences of an event. mu must be held.
func (s *Stage) finish() {
	if !s.closed {
		s.advance()
	}
	f := s.finding
	if f.detail != "" {
		s.finding = finding{}
	}
	s.mu.Unlock()
	s.box.Run()
	if f.detail != "" && f.report != nil {
		f.report(f.detail)
	}
}

// Cancel implements [usb.Device].
func (s *Stage) Cancel(u *usb.URB) {
	if u.Endpoint.Number() != 0 {
		s.Device.Cancel(u)
		return
	}
	s.mu.Lock()
	i := slices.IndexFunc(s.queue, func(t *transfer) bool { return t.urb == u })
	switch {
	case i < 0:
	case s.queue[i].sent != nil:
		s.box.Cancel(s.queue[i].sent)
	default:
		s.queue = slices.Delete(s.queue, i, i+1)
		s.box.Finish(u, usb.StatusReset)
		s.advance()
	}
	s.mu.Unlock()
	s.box.Run()
}

// Close implements [usb.Device].
func (s *Stage) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.Device.Close()
	s.box.Drain()
	s.mu.Lock()
	for _, t := range s.queue {
		if t.sent == nil {
			s.box.Finish(t.urb, usb.StatusShutdown)
		}
	}
	s.queue = nil
	s.mu.Unlock()
	s.box.Drain()
	return err
}
