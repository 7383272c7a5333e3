package ahead

import (
	"slices"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// controls holds the driver's requests on endpoint 0. The mu of its Stage guards it.
type controls struct {
	stage   *Stage
	waiting []*control // not sent, oldest first
	running map[*usb.URB]*control
}

// control is a request of the driver.
type control struct {
	urb       *usb.URB
	sent      usb.URB
	begun     bool
	suspended []*pipe
}

// submit handles a request of the driver. mu must be held.
func (cs *controls) submit(u *usb.URB) {
	cs.waiting = append(cs.waiting, &control{urb: u})
	cs.advance()
}

// advance sends the requests that need not wait. mu must be held.
func (cs *controls) advance() {
	for len(cs.waiting) > 0 {
		c := cs.waiting[0]
		for _, o := range cs.stage.outs {
			if len(o.sent) > 0 {
				return
			}
		}
		if !c.begun {
			c.begun = true
			c.suspended = cs.affected(c.urb.SetupPacket())
			for _, p := range c.suspended {
				p.suspend()
			}
		}
		if slices.ContainsFunc(c.suspended, func(p *pipe) bool { return p.recall.on }) {
			return
		}
		cs.waiting = cs.waiting[1:]
		cs.send(c)
	}
}

// affected returns the pipes that must have nothing posted ahead when the device gets a
// request.
func (cs *controls) affected(s usb.Setup) []*pipe {
	var list []*pipe
	for _, p := range cs.stage.pipes {
		is := false
		switch s.Change() {
		case usb.SetConfiguration, usb.PortReset:
			is = true
		case usb.SetInterface:
			is = s.Index == uint16(p.policy.Interface)
		case usb.ClearHalt:
			is = s.Index == uint16(p.endpoint)
		case usb.NoChange:
			is = cs.purges(s, p)
		}
		if is {
			list = append(list, p)
		}
	}
	return list
}

// purges reports whether a request drops what a pipe has received.
func (cs *controls) purges(s usb.Setup, p *pipe) bool {
	if cs.stage.plan.Effect == nil {
		return false
	}
	switch cs.stage.plan.Effect(s, p.policy.Interface) {
	case Purges:
		return true
	case HangsUp:
		p.hungUp = len(p.wanted) > 0
		return !p.hungUp
	}
	return false
}

func (cs *controls) send(c *control) {
	u, s := c.urb, cs.stage
	c.sent = usb.URB{Setup: u.Setup, Endpoint: u.Endpoint, Flags: u.Flags, Data: u.Data, Interval: u.Interval}
	c.sent.Done = func(*usb.URB) {
		s.mu.Lock()
		cs.done(c)
		s.mu.Unlock()
		s.box.Run()
	}
	cs.running[u] = c
	s.box.Submit(&c.sent)
}

// done handles the end of a request. mu must be held.
func (cs *controls) done(c *control) {
	s, u := cs.stage, c.urb
	delete(cs.running, u)
	u.Actual = c.sent.Actual
	setup := u.SetupPacket()
	if c.sent.Status == usb.StatusOK {
		cs.apply(setup)
		for _, o := range s.outs {
			o.isEarly = o.isEarly || u.In() && o.proof(setup, u.Data[:u.Actual])
		}
	}
	if !s.closed {
		cs.resume(c, setup.Change() != usb.NoChange)
	}
	s.box.Finish(u, c.sent.Status)
}

// resume lets the pipes of a request post ahead again. restarts says that the driver is
// treated like a new one.
func (cs *controls) resume(c *control, restarts bool) {
	for _, p := range c.suspended {
		if restarts {
			p.allowance = p.policy.First
		}
		p.resume()
	}
}

// apply records a change of the selected settings.
func (cs *controls) apply(s usb.Setup) {
	for _, p := range cs.stage.pipes {
		switch s.Change() {
		case usb.SetConfiguration:
			p.chosen = s.Value == uint16(cs.stage.active) && p.policy.Alternate == 0
		case usb.PortReset:
			p.chosen = p.policy.Alternate == 0
		case usb.SetInterface:
			if s.Index == uint16(p.policy.Interface) {
				p.chosen = s.Value == uint16(p.policy.Alternate)
			}
		}
	}
}

// cancel cancels a request of the driver. mu must be held.
func (cs *controls) cancel(u *usb.URB) {
	if c := cs.running[u]; c != nil {
		cs.stage.box.Cancel(&c.sent)
		return
	}
	i := slices.IndexFunc(cs.waiting, func(c *control) bool { return c.urb == u })
	if i < 0 {
		return
	}
	c := cs.waiting[i]
	cs.waiting = slices.Delete(cs.waiting, i, i+1)
	cs.stage.box.Finish(u, usb.StatusReset)
	cs.resume(c, false)
	cs.advance()
}
