package web

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// overviewPages shows the first page.
type overviewPages struct {
	membership Membership
	instances  Instances
	pairs      Pairs
	history    History
	join       joinLinks
	now        func() time.Time
}

func (p *overviewPages) pages() []page {
	return []page{{path: "", name: "overview", title: "Overview", nav: "overview", load: p.load}}
}

// overview is the data of the page. It omits what the sign-in does not cover.
type overview struct {
	Registered int
	Online     int
	Pairs      presence.PairCount
	Instances  []history.InstanceStatus
	JoinCmd    string // shown while no peer has joined an open server
	Hours      int    // the period of the charts
	Charts     []chart
	RelayBytes int64 // in those hours, as the two below
	Joined     int64
	Refused    int64
}

// Linked returns the number of pairs that have a link.
func (o overview) Linked() int { return o.Pairs.Direct + o.Pairs.Relayed }

// DirectShare returns the percentage of links that are not relayed.
func (o overview) DirectShare() int { return 100 * o.Pairs.Direct / max(1, o.Linked()) }

func (p *overviewPages) load(v *view) error {
	o := overview{Registered: p.membership.Registered(), Hours: 24}
	v.Data = &o
	all, err := p.instances.Instances(v.ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		o.Online += i.Peers
	}
	o.Registered = max(o.Registered, o.Online) // registered peers are counted less often
	if v.May(api.ScopePeers) || v.May(api.ScopeAudit) {
		if o.Pairs, err = p.pairs.CountPairs(v.ctx); err != nil {
			return err
		}
	}
	if o.Registered == 0 && v.May(api.ScopeInvites) && p.membership.Open() {
		o.JoinCmd = p.join.command("")
	}
	if !v.May(api.ScopeAudit) {
		return nil
	}
	o.Instances = all
	if v.Query("hours") == "168" {
		o.Hours = 168
	}
	return p.charts(v, &o)
}

// charts draws the figures of the last hours.
func (p *overviewPages) charts(v *view, o *overview) error {
	const steps = 144
	span := time.Duration(o.Hours) * time.Hour
	step := span / steps // 10 minutes for a day, 70 for a week
	spans, err := p.history.History(v.ctx, span, step)
	if err != nil {
		return err
	}
	from := history.Start(p.now(), span, step)
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
	add := func(c chart, title string, all ...series) {
		c.Title, c.Series, c.From, c.Step, c.Steps = title, all, from, step, steps
		o.Charts = append(o.Charts, c.draw())
	}
	add(chart{}, "Peers online", peers)
	add(chart{Stacked: true}, "Pairs with a link", direct, relayed)
	add(chart{Bytes: true, Sum: true}, "Relayed", bytes)
	add(chart{Sum: true}, "Registrations and refusals", joined, refused)
	return nil
}

// joinLinks returns the link by which agents join with an invite, or without an
// invite if code is "".
type joinLinks func(code string) string

// command returns the command that a person runs to join.
func (j joinLinks) command(code string) string { return "easyfind up --rendezvous '" + j(code) + "'" }
