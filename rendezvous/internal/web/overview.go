package web

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// overview is the first page. What the session does not cover is left out.
type overview struct {
	Registered int
	Online     int
	Pairs      registry.PairCount
	Instances  []registry.InstanceAt
	JoinCmd    string // shown while nobody has joined an open server
	Hours      int
	Charts     []chart
	RelayBytes int64
	Joined     int64 // in those hours
	Refused    int64
}

// Linked is how many pairs have a link.
func (o overview) Linked() int { return o.Pairs.Direct + o.Pairs.Relayed }

// DirectShare is how many of a hundred are not relayed.
func (o overview) DirectShare() int { return 100 * o.Pairs.Direct / max(1, o.Linked()) }

func (p *Pages) loadOverview(v *view) error {
	o := overview{Registered: p.cfg.Registry.Registered(), Hours: 24}
	v.Data = &o
	all, err := p.cfg.Registry.Instances(v.ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		o.Online += i.Peers
	}
	o.Registered = max(o.Registered, o.Online) // which is counted a moment later
	if v.May(api.ScopePeers) || v.May(api.ScopeAudit) {
		if o.Pairs, err = p.cfg.Registry.CountPairs(v.ctx); err != nil {
			return err
		}
	}
	if o.Registered == 0 && v.May(api.ScopeInvites) && p.cfg.Registry.Open() {
		o.JoinCmd = p.joinCommand("")
	}
	if !v.May(api.ScopeAudit) {
		return nil
	}
	o.Instances = all
	if v.Asked("hours") == "168" {
		o.Hours = 168
	}
	return p.charts(v, &o)
}

// charts draws what has been in the last hours.
func (p *Pages) charts(v *view, o *overview) error {
	span := time.Duration(o.Hours) * time.Hour
	step := span / 144 // 10 minutes of a day, 70 of a week
	spans, err := p.cfg.Registry.History(v.ctx, span, step)
	if err != nil {
		return err
	}
	const steps = 144
	from := registry.HistoryFrom(p.cfg.Now(), span, step)
	peers := newSeries("Peers", "one", steps)
	direct, relayed := newSeries("Direct", "one", steps), newSeries("Relayed", "two", steps)
	bytes := newSeries("Relayed", "two", steps)
	joined, refused := newSeries("Registered", "one", steps), newSeries("Refused", "two", steps)
	for _, s := range spans {
		at := int(s.At.Sub(from) / step)
		peers.set(at, int64(s.Peers))
		direct.set(at, int64(s.Pairs.Direct))
		relayed.set(at, int64(s.Pairs.Relayed))
		bytes.set(at, s.RelayBytes)
		joined.set(at, s.Registrations)
		refused.set(at, s.Refusals)
		o.RelayBytes += s.RelayBytes
		o.Joined += s.Registrations
		o.Refused += s.Refusals
	}
	base := chart{From: from, Step: step, Steps: steps}
	of := func(title string, change func(*chart), all ...series) {
		c := base
		c.Title, c.Series = title, all
		if change != nil {
			change(&c)
		}
		o.Charts = append(o.Charts, c.draw())
	}
	of("Peers online", nil, peers)
	of("Pairs with a link", func(c *chart) { c.Stacked = true }, direct, relayed)
	of("Relayed", func(c *chart) { c.Bytes, c.Sum = true, true }, bytes)
	of("Registrations and refusals", func(c *chart) { c.Sum = true }, joined, refused)
	return nil
}

// joinCommand is what a person runs to join, with an invite or without one.
func (p *Pages) joinCommand(code string) string {
	return "easyfind up --rendezvous '" + p.cfg.JoinLink(code) + "'"
}
