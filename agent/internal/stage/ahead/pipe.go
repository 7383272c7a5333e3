package ahead

import (
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

const (
	// growth and decay are the factors by which the allowance of a driver changes.
	growth = 4
	decay  = 16
	// steadyURBs is the number of equal URBs after which transfers are posted ahead for a
	// driver that has changed their length.
	steadyURBs = 4
	// spare is the number of transfers posted ahead in addition to those that fill one
	// and a half round trips.
	spare = 4
)

// pipe holds the transfers of one IN endpoint. The mu of its Stage guards it, and must be
// held by callers of its methods.
//
//	        the driver submits            its last URB is cancelled, it pauses,
//	                                      an error, a request, another length
//	resting ──────────────────► reading ──────────────────────────────────────► recalling
//	   ▲                           ▲                                              │    │
//	   │                           └───── nothing is posted, and it wants more ───┘    │
//	   └───────────────────────────────── nothing is posted ───────────────────────────┘
type pipe struct {
	stage    *Stage
	endpoint usb.Endpoint
	policy   Policy

	chosen    bool // the configuration and the alternate setting of the endpoint are selected
	suspended int  // control requests that must not find transfers posted ahead
	hungUp    bool // the program closes the device if the driver cancels its URBs next

	shape     shape // of the driver's last URB
	steady    int   // URBs of the driver that have it
	wanted    []*want
	posted    []*transfer
	arrived   []*result // empty if the driver wants one
	allowance int       // transfers that may be posted ahead for this driver
	reading   bool      // the driver keeps URBs posted
	recall    recall
	began     time.Time // when reading became true
	took      int       // URBs of the driver that were answered since
	idle      time.Time // when the driver was last left without an URB
	expires   time.Time // when arrived is dropped; zero: never
	alarm     alarm
}

// shape holds the parameters in which URBs of one endpoint can differ.
type shape struct {
	length   int
	flags    usb.Flags
	interval int32
}

func shapeOf(u *usb.URB) shape { return shape{len(u.Data), u.Flags, u.Interval} }

// want is an URB of the driver that waits for a result.
type want struct {
	urb       *usb.URB
	number    uint64
	cancelled bool // by the driver
}

// result is the outcome of a transfer that no URB of the driver has got.
type result struct {
	data   []byte
	status usb.Status
	number uint64
	isCut  bool // the transfer was cancelled after it had received data
	ofOut  bool // it is the error of an OUT that was answered early
}

// recall is the state of a pipe while all its transfers are being cancelled.
type recall struct {
	on      bool
	drops   bool       // data that arrive are dropped
	failed  bool       // an error was recorded: further ones that no URB waits for are dropped
	ended   bool       // the driver has cancelled its last URB
	failure usb.Status // of an OUT that was answered early
}

// submit handles an URB of the driver.
func (p *pipe) submit(u *usb.URB) {
	switch s := shapeOf(u); {
	case p.shape == (shape{}):
		p.shape, p.steady = s, steadyURBs
	case p.shape != s:
		if len(p.posted) > len(p.wanted) {
			p.withdraw()
		}
		p.shape, p.steady, p.allowance = s, 0, 0
	default:
		p.steady++
	}
	p.wanted = append(p.wanted, &want{urb: u, number: p.stage.next()})
	p.hungUp, p.expires = false, time.Time{}
	if !p.reading && !p.recall.on {
		p.begin()
	}
	p.advance()
}

func (p *pipe) begin() { p.reading, p.began, p.took = true, time.Now(), 0 }

// advance makes progress until nothing is left to do.
func (p *pipe) advance() {
	p.match()
	if p.recall.on && len(p.posted) == 0 {
		p.recalled()
		p.match()
	}
	if !p.recall.on {
		p.post()
	}
	p.watch()
}

// match completes URBs of the driver with what has arrived.
func (p *pipe) match() {
	for len(p.wanted) > 0 && len(p.arrived) > 0 {
		p.deliver(p.wanted[0], p.arrived[0])
	}
}

// deliver completes the oldest URB of the driver with the oldest result.
func (p *pipe) deliver(w *want, r *result) {
	status := r.status
	if r.isCut && w.cancelled {
		status = usb.StatusReset
	}
	n := copy(w.urb.Data, r.data)
	r.data = r.data[n:]
	switch {
	case len(r.data) == 0:
		p.arrived = p.arrived[1:]
	case n > 0 && n%p.policy.MaxPacket == 0: // the rest would be in the next transfer
		status = usb.StatusOK
	default:
		status = usb.StatusOverflow
		p.arrived = p.arrived[1:]
	}
	p.wanted = p.wanted[1:]
	if len(p.wanted) == 0 {
		p.idle = time.Now()
	}
	p.took++
	p.stage.work.Commands++
	if r.number < w.number {
		p.stage.work.Hits++
		p.stage.work.Ahead += int64(n)
	}
	w.urb.Actual = n
	p.stage.box.Finish(w.urb, status)
}

// post posts the transfers that are missing.
func (p *pipe) post() {
	n := len(p.wanted) - len(p.arrived)
	if p.reading {
		n += p.ahead()
	}
	for have := p.active(); have < n; have++ {
		s := p.shape
		if have < len(p.wanted) {
			s = shapeOf(p.wanted[have].urb)
		}
		u := usb.URB{Endpoint: p.endpoint, Flags: s.flags, Interval: s.interval, Data: make([]byte, s.length)}
		p.posted = append(p.posted, p.stage.post(u, p.done))
	}
}

// active returns the number of posted transfers that are not cancelled.
func (p *pipe) active() int {
	n := 0
	for _, t := range p.posted {
		if !t.cancelled {
			n++
		}
	}
	return n
}

// ahead returns the number of transfers to post in addition to those of the driver.
func (p *pipe) ahead() int {
	if p.allowance == 0 || p.suspended > 0 || !p.chosen || p.shape.length == 0 || p.shape.flags&usb.ShortNotOK != 0 {
		return 0
	}
	return min(p.allowance, maxPostedSize/p.shape.length, spare+int(p.stage.delay()*3/2/p.policy.Interval))
}

// done handles the completion of a transfer.
func (p *pipe) done(t *transfer) {
	p.posted = without(p.posted, t)
	r := &result{data: t.urb.Data[:t.urb.Actual], status: t.urb.Status, number: t.number}
	switch {
	case p.stage.closed:
		return
	case r.status == usb.StatusOK:
		p.receive(r)
	case t.cancelled && r.status.Cancelled():
		if r.status, r.isCut = usb.StatusOK, true; len(r.data) > 0 {
			p.receive(r)
		}
	case p.recall.failed && len(p.wanted) == 0, t.cancelled && !p.recall.on:
		// The transfer was posted ahead behind one that failed, or for an URB that was cancelled.
	default:
		p.receive(r)
		p.allowance = 0
		p.withdraw()
		p.recall.failed = true
	}
	p.advance()
}

// receive keeps a result.
func (p *pipe) receive(r *result) {
	if p.recall.drops {
		p.drop(r)
		return
	}
	if len(p.wanted) > 0 && p.steady >= steadyURBs && r.status == usb.StatusOK {
		p.allowance = min(p.allowance*growth+1, p.policy.Max)
	}
	p.arrived = append(p.arrived, r)
}

func (p *pipe) drop(r *result) {
	p.stage.work.Ahead += int64(len(r.data))
	p.stage.work.Discarded += int64(len(r.data))
}

func (p *pipe) dropArrived() {
	for _, r := range p.arrived {
		p.drop(r)
	}
	p.arrived = nil
}

// cancel cancels an URB of the driver. It returns false if it is not one.
func (p *pipe) cancel(u *usb.URB) bool {
	i := slices.IndexFunc(p.wanted, func(w *want) bool { return w.urb == u })
	if i < 0 {
		return false
	}
	others := 0
	for _, w := range p.wanted {
		if w.urb != u && !w.cancelled {
			others++
		}
	}
	switch {
	case p.wanted[i].cancelled:
	case others > 0:
		p.wanted = slices.Delete(p.wanted, i, i+1)
		p.stage.box.Finish(u, usb.StatusReset)
		p.trim()
	default:
		p.wanted[i].cancelled = true
		p.end()
	}
	return true
}

// trim cancels the last transfers if more are posted than the driver needs.
func (p *pipe) trim() {
	over := p.active() - len(p.wanted) - p.ahead()
	for _, t := range slices.Backward(p.posted) {
		if over <= 0 {
			break
		}
		if !t.cancelled {
			p.stage.recall(t)
			over--
		}
	}
}

// end ends the posting after the driver has cancelled its last URB.
func (p *pipe) end() {
	if p.took == 0 && time.Since(p.began) < pollTimeout {
		p.allowance /= decay
	}
	p.withdraw()
	p.recall.ended = true
	p.recall.drops = p.recall.drops || p.hungUp
	p.advance()
}

// withdraw begins to cancel all that is posted.
func (p *pipe) withdraw() {
	if p.recall.on {
		return
	}
	p.recall, p.reading = recall{on: true}, false
	for _, t := range slices.Backward(p.posted) { // so that none runs in place of a cancelled one
		p.stage.recall(t)
	}
}

// recalled ends the recall when nothing is posted.
func (p *pipe) recalled() {
	last := p.recall
	p.recall = recall{}
	p.wanted = slices.DeleteFunc(p.wanted, func(w *want) bool {
		if w.cancelled {
			p.stage.box.Finish(w.urb, usb.StatusReset)
		}
		return w.cancelled
	})
	switch {
	case last.drops:
		p.dropArrived()
	case last.failure != usb.StatusOK:
		p.arrived = append(p.arrived, &result{status: last.failure, ofOut: true, number: p.stage.next()})
	}
	switch {
	case len(p.wanted) > 0:
		p.begin()
	case last.ended && len(p.arrived) > 0:
		p.expires = time.Now().Add(p.policy.TTL)
	}
}

// fail reports the error of an OUT that was answered early to the driver's next URB.
func (p *pipe) fail(status usb.Status) {
	p.withdraw()
	p.recall.failure = status
	p.advance()
}

// takeFailure returns an error of an OUT that no URB has got yet, or StatusOK.
func (p *pipe) takeFailure() usb.Status {
	status := p.recall.failure
	p.recall.failure = usb.StatusOK
	p.arrived = slices.DeleteFunc(p.arrived, func(r *result) bool {
		if r.ofOut {
			status = r.status
		}
		return r.ofOut
	})
	return status
}

// suspend drops all that was posted ahead for a control request. The request may run when
// the recall has ended.
func (p *pipe) suspend() {
	p.suspended++
	if p.recall.on || len(p.arrived) > 0 || len(p.posted) > len(p.wanted) {
		p.withdraw()
		p.recall.drops = true
		p.advance()
	}
}

// resume ends suspend.
func (p *pipe) resume() {
	p.suspended--
	p.advance()
}
