package stagetest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// The endpoints of the device of Reports.
const (
	ReportIn  usb.Endpoint = 0x81
	ReportOut usb.Endpoint = 0x01
)

// reportPacket is the greatest packet of ReportIn.
const reportPacket = 16

// newNumberer returns a device that sends reports with rising numbers. It sends one for each
// OUT.
func newNumberer() *numberer {
	r := &numberer{}
	r.Peripheral = NewPeripheral(PeripheralConfig{
		Vendor: 0x1209, Product: 0x000b, Speed: usb.SpeedFull,
		Configuration: Configuration(Interface(usb.Interface{Class: 3},
			usb.EndpointDescriptor{Address: ReportIn, Type: usb.Interrupt, MaxPacket: reportPacket, Interval: 1},
			usb.EndpointDescriptor{Address: ReportOut, Type: usb.Interrupt, MaxPacket: reportPacket, Interval: 1})),
		Receive: func(_ *Peripheral, _ usb.Endpoint, _ []byte) { r.send() },
	})
	return r
}

// numberer is a device with a number for its next report.
type numberer struct {
	*Peripheral
	mu   sync.Mutex
	last uint64
}

func (r *numberer) send() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	r.Report(ReportIn, binary.LittleEndian.AppendUint64(nil, r.last))
}

// outcome is a completed URB as its driver sees it.
type outcome struct {
	id     int
	status usb.Status
	data   []byte
}

// reader is a driver that submits and cancels URBs by number.
type reader struct {
	dev  usb.Device
	path *Path // nil: the device has no path

	mu     sync.Mutex
	urbs   map[int]*usb.URB // that are not complete
	ended  []outcome        // of IN transfers with ReportIn, in the order of completion
	others []outcome        // of other URBs
	twice  bool
}

func newReader(dev usb.Device, path *Path) *reader {
	return &reader{dev: dev, path: path, urbs: map[int]*usb.URB{}}
}

func (r *reader) submit(id int, u usb.URB) {
	sent := &u
	sent.Done = func(*usb.URB) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.twice = r.twice || r.urbs[id] == nil
		delete(r.urbs, id)
		if u.Endpoint == ReportIn {
			r.ended = append(r.ended, outcome{id, u.Status, slices.Clone(u.Data[:u.Actual])})
		} else {
			r.others = append(r.others, outcome{id, u.Status, nil})
		}
	}
	r.mu.Lock()
	r.urbs[id] = sent
	r.mu.Unlock()
	r.dev.Submit(sent)
}

func (r *reader) cancel(id int) {
	r.mu.Lock()
	u := r.urbs[id]
	r.mu.Unlock()
	if u != nil {
		r.dev.Cancel(u)
	}
}

// pending returns the numbers of the URBs that are not complete, in order.
func (r *reader) pending() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []int
	for id := range r.urbs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (r *reader) setDown(down bool) {
	if r.path != nil {
		r.path.SetDown(down)
	}
}

// Reports runs a long random sequence of actions of a driver and of a device on two equal
// devices, one of them behind the stage that wrap returns. It fails if the driver sees any
// difference. It runs in virtual time.
func Reports(t *testing.T, seed uint64, steps int, wrap Wrap) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 8))
		devices := [2]*numberer{newNumberer(), newNumberer()}
		staged, path := wrap(t, devices[1].Peripheral, PathConfig{
			Delay: 20 * time.Millisecond, Jitter: time.Duration(random.IntN(2)) * 5 * time.Millisecond, Seed: seed,
		})
		defer func() { _ = staged.Close() }()
		readers := [2]*reader{newReader(devices[0], nil), newReader(staged, path)}
		id := 0
		for n := range steps {
			choice, amount, many := random.IntN(16), random.IntN(1<<20), 1+random.IntN(4)
			for i := range devices {
				readers[i].step(devices[i], choice, amount, many, id)
			}
			id += 10
			time.Sleep([]time.Duration{150, 300, 2000}[amount%3] * time.Millisecond)
			synctest.Wait()
			compare(t, readers, seed, n, choice)
		}
	})
}

// compare fails the test if two drivers have seen different things.
func compare(t *testing.T, readers [2]*reader, seed uint64, n, choice int) {
	t.Helper()
	same := func(a, b outcome) bool {
		return a.id == b.id && a.status == b.status && bytes.Equal(a.data, b.data)
	}
	a, b := readers[0], readers[1]
	if !slices.EqualFunc(a.ended, b.ended, same) || !slices.EqualFunc(a.others, b.others, same) ||
		!slices.Equal(a.pending(), b.pending()) || a.twice || b.twice {
		t.Fatalf("seed %d, step %d (%d): without the stage %v %v, left %v; with it %v %v, left %v", seed, n, choice,
			a.ended, a.others, a.pending(), b.ended, b.others, b.pending())
	}
	a.ended, a.others, b.ended, b.others = nil, nil, nil, nil
}

// step does one thing. The result does not depend on the time that URBs take.
func (r *reader) step(d *numberer, choice, amount, many, id int) {
	request := func(s usb.Setup) { r.submit(id+9, usb.URB{Setup: s.Bytes()}) }
	pending := r.pending()
	switch choice {
	case 0, 1, 2, 3, 4, 5:
		for i := range many {
			length := []int{reportPacket, reportPacket, reportPacket, 64, 4 * reportPacket, 8}[choice]
			r.submit(id+i, usb.URB{Endpoint: ReportIn, Data: make([]byte, length)})
		}
	case 6, 7, 8:
		for range many {
			d.send()
		}
	case 9:
		if len(pending) > 0 {
			r.cancel(pending[amount%len(pending)])
		}
	case 10:
		for _, n := range slices.Backward(pending) {
			r.cancel(n)
		}
	case 11: // halt an endpoint that has nothing to send
		if len(pending) > 0 {
			d.Halt(ReportIn)
		}
	case 12:
		request(clearHalt(ReportIn))
	case 13:
		request([]usb.Setup{
			{Request: 9, Value: 1}, {Type: 1, Request: 11}, {Type: 0x23, Request: 3, Value: 4, Index: 1},
		}[amount%3])
	case 14:
		r.setDown(true)
		time.AfterFunc(time.Duration(amount%140)*time.Millisecond, func() { r.setDown(false) })
	case 15:
		r.submit(id, usb.URB{Endpoint: ReportOut, Data: make([]byte, 8)})
	}
}

// HostileReports makes a driver submit and cancel URBs and send requests at random, while
// the device sends reports; each byte of input selects one action. It fails unless reports
// arrive in order and none twice, every URB completes once, and nothing is posted at the
// end. It runs in virtual time.
func HostileReports(t *testing.T, input []byte, wrap Wrap) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newNumberer()
		staged, path := wrap(t, d.Peripheral, PathConfig{
			Delay: 10 * time.Millisecond, Jitter: 15 * time.Millisecond, Seed: uint64(len(input)),
		})
		defer func() { _ = staged.Close() }()
		r := newReader(staged, path)
		for i, b := range input {
			r.act(d, b, i)
		}
		d.SetBusy(ReportOut, false)
		path.SetDown(false)
		time.Sleep(20 * time.Second)
		for _, id := range r.pending() {
			r.cancel(id)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if left, posted := r.pending(), d.Posted(ReportIn); len(left) > 0 || posted > 0 || r.twice {
			t.Errorf("% x: URBs %v did not complete, %d are posted, one completed twice: %t",
				input, left, posted, r.twice)
		}
		r.checkOrder(t, input)
		for _, s := range []usb.Setup{{Type: 0x23, Request: 3, Value: 4, Index: 1}, {Request: 9, Value: 1}} {
			usb.Do(t.Context(), staged, &usb.URB{Setup: s.Bytes()})
		}
		for range 2 { // the first OUT may end with the error of an earlier one
			usb.Do(t.Context(), staged, &usb.URB{Endpoint: ReportOut, Data: make([]byte, 8)})
		}
		last := &usb.URB{Endpoint: ReportIn, Data: make([]byte, reportPacket)}
		if s := usb.Do(t.Context(), staged, last); s != usb.StatusOK || last.Actual != 8 {
			t.Errorf("% x: after all, status %d with %d bytes", input, s, last.Actual)
		}
	})
}

// checkOrder fails the test unless the numbers of the reports rise.
func (r *reader) checkOrder(t *testing.T, input []byte) {
	t.Helper()
	last := uint64(0)
	for _, o := range r.ended {
		for data := o.data; len(data) >= 8; data = data[8:] {
			n := binary.LittleEndian.Uint64(data)
			if n <= last {
				t.Errorf("% x: report %d after report %d", input, n, last)
			}
			last = n
		}
	}
}

// act does one thing.
func (r *reader) act(d *numberer, b byte, id int) {
	length := []int{8, 16, 16, 16, 16, 0, 64, 4}[b>>5]
	flags := usb.Flags(0)
	if b == 0xff {
		flags = usb.ShortNotOK
	}
	request := func(s usb.Setup) { r.submit(id, usb.URB{Setup: s.Bytes()}) }
	switch b & 0x1f {
	case 0, 1, 2, 3, 4, 0x1f:
		r.submit(id, usb.URB{Endpoint: ReportIn, Data: make([]byte, length), Flags: flags})
	case 5, 6, 7, 8:
		for range 1 + b>>6 {
			d.send()
		}
	case 9, 10:
		if list := r.pending(); len(list) > 0 {
			r.cancel(list[int(b>>5)%len(list)])
		}
	case 11:
		for _, n := range r.pending() {
			r.cancel(n)
		}
	case 12:
		d.Halt([]usb.Endpoint{ReportIn, ReportOut}[b>>7])
	case 13, 14:
		request(clearHalt([]usb.Endpoint{ReportIn, ReportOut}[b>>7]))
	case 15:
		request(usb.Setup{Request: 9, Value: uint16(b >> 7)})
	case 16:
		request(usb.Setup{Type: 1, Request: 11, Value: uint16(b >> 7)})
	case 17:
		request(usb.Setup{Type: 0x23, Request: 3, Value: 4, Index: 1})
	case 18:
		request(usb.Setup{Type: 0x21, Request: 10}) // SET_IDLE
	case 19, 20, 21:
		r.submit(id, usb.URB{Endpoint: ReportOut, Data: make([]byte, 8)})
	case 22:
		d.SetBusy(ReportOut, b>>7 == 1)
	case 23:
		r.setDown(true)
	case 24:
		r.setDown(false)
	default:
		time.Sleep(time.Duration(b>>3) * 10 * time.Millisecond)
	}
}
