package usbtest

import (
	"slices"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// recorder records the order in which URBs complete. An URB that completes twice
// appears twice.
type recorder struct {
	mu    sync.Mutex
	order []int         // numbers of the completed URBs
	all   chan struct{} // closed when want URBs have completed
	want  int
}

func newRecorder(want int) *recorder { return &recorder{all: make(chan struct{}), want: want} }

// done returns a Done function for URB n.
func (r *recorder) done(n int) func(*usb.URB) {
	return func(*usb.URB) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.order = append(r.order, n)
		if len(r.order) == r.want {
			close(r.all)
		}
	}
}

func (r *recorder) completed() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.order)
}

// inOrder fails the test unless every URB completed once and in ascending order.
func (r *recorder) inOrder(t *testing.T) {
	t.Helper()
	order := r.completed()
	if len(order) != r.want || !slices.IsSorted(order) {
		t.Errorf("%d URBs completed in the order %v", r.want, order)
	}
}

func orderOfControl(t *testing.T, d usb.Device) {
	const count = 100
	r := newRecorder(count)
	urbs := make([]*usb.URB, count)
	for n := range urbs {
		urbs[n] = getDescriptor(0x0100, 1+n%18)
		urbs[n].Done = r.done(n)
		d.Submit(urbs[n])
	}
	wait(t, r.all, "completion of 100 control URBs")
	r.inOrder(t)
	for n, u := range urbs {
		if u.Status != usb.StatusOK || u.Actual != 1+n%18 {
			t.Errorf("URB %d: status %d, %d bytes", n, u.Status, u.Actual)
		}
	}
}

// stateChanges sends the requests that a Device must perform itself, and checks
// that the device works afterwards.
func stateChanges(t *testing.T, d usb.Device) {
	info := d.Info()
	requests := map[string]usb.Setup{
		"SET_CONFIGURATION": {Type: 0x00, Request: 9, Value: uint16(info.Configuration)},
		"SET_INTERFACE":     {Type: 0x01, Request: 11, Index: uint16(info.Interfaces[0].Number)},
		"port reset":        {Type: 0x23, Request: 3, Value: 4, Index: 1},
	}
	if e := idleIn(t, info); e != 0 && isDisk(info) { // endpoints that never halt need not support it
		requests["CLEAR_HALT"] = usb.Setup{Type: 0x02, Request: 1, Index: uint16(e)}
	}
	for name, s := range requests {
		u := do(t, d, &usb.URB{Setup: s.Bytes()})
		if u.Status != usb.StatusOK {
			t.Errorf("%s: status %d", name, u.Status)
		}
		alive(t, d)
		works(t, d)
	}
}

// idleIn returns a bulk or interrupt IN endpoint on which the device sends nothing
// unless a request or a person makes it, or 0 if no such endpoint is known.
func idleIn(t *testing.T, info usb.Info) usb.Endpoint {
	t.Helper()
	d, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := d.Configuration(info.Configuration)
	for _, s := range c.Settings {
		if s.Class != 0x08 && s.Class != 0x03 || s.Alternate != 0 {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Address.In() && (e.Type == usb.Bulk || e.Type == usb.Interrupt) {
				return e.Address
			}
		}
	}
	return 0
}

// pendingIn submits count URBs that stay pending. It skips the test if the device
// completes them.
func pendingIn(t *testing.T, d usb.Device, count int) ([]*usb.URB, *recorder) {
	t.Helper()
	e := idleIn(t, d.Info())
	if e == 0 {
		t.Skip("the device has no IN endpoint that is known to be idle")
	}
	r := newRecorder(count)
	urbs := make([]*usb.URB, count)
	for n := range urbs {
		urbs[n] = &usb.URB{Endpoint: e, Data: make([]byte, 1024), Done: r.done(n)}
		d.Submit(urbs[n])
	}
	alive(t, d)
	if got := r.completed(); len(got) != 0 {
		t.Skipf("URBs %v completed at once: the endpoint is not idle", got)
	}
	return urbs, r
}

// skipIfStalled skips the test on a device that answers an unexpected transfer
// with a stall instead of NAK.
func skipIfStalled(t *testing.T, urbs []*usb.URB) {
	t.Helper()
	if slices.ContainsFunc(urbs, func(u *usb.URB) bool { return u.Status == usb.StatusStall }) {
		t.Skip("the device stalls unexpected transfers")
	}
}

func cancelPending(t *testing.T, d usb.Device) {
	const count = 8
	urbs, r := pendingIn(t, d, count)
	for _, u := range urbs {
		d.Cancel(u)
	}
	wait(t, r.all, "completion of cancelled URBs")
	skipIfStalled(t, urbs)
	for n, u := range urbs {
		if u.Status != usb.StatusReset || u.Actual != 0 {
			t.Errorf("cancelled URB %d: status %d, %d bytes", n, u.Status, u.Actual)
		}
		d.Cancel(u) // has no effect on a complete URB
	}
	alive(t, d)
	if got := r.completed(); len(got) != count {
		t.Errorf("%d URBs completed %d times", count, len(got))
	}
	works(t, d)
}

func cancelOneOfMany(t *testing.T, d usb.Device) {
	urbs, _ := pendingIn(t, d, 1)
	more := newRecorder(2)
	others := make([]*usb.URB, 2)
	for n := range others {
		others[n] = &usb.URB{Endpoint: urbs[0].Endpoint, Data: make([]byte, 1024), Done: more.done(n)}
		d.Submit(others[n])
	}
	d.Cancel(others[1])
	d.Cancel(others[0])
	wait(t, more.all, "completion of two cancelled URBs of three")
	skipIfStalled(t, others)
	alive(t, d)
	cancelled := make(chan struct{})
	late := &usb.URB{Endpoint: urbs[0].Endpoint, Data: make([]byte, 1024), Done: func(*usb.URB) { close(cancelled) }}
	d.Submit(late)
	d.Cancel(late)
	wait(t, cancelled, "completion of an URB cancelled at once")
	if late.Status != usb.StatusReset {
		t.Errorf("URB cancelled at once: status %d", late.Status)
	}
}

func closeCompletes(t *testing.T, d usb.Device) {
	urbs, r := pendingIn(t, d, 4)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.completed(); len(got) != len(urbs) {
		t.Errorf("after Close %d of %d URBs are complete", len(got), len(urbs))
	}
	for n, u := range urbs {
		if u.Status == usb.StatusOK {
			t.Errorf("URB %d: StatusOK although Close ended it", n)
		}
	}
	u := do(t, d, getDescriptor(0x0100, 18))
	if u.Status != usb.StatusNoDevice && u.Status != usb.StatusShutdown {
		t.Errorf("Submit after Close: status %d", u.Status)
	}
	d.Cancel(u)
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
