package web

import (
	"math"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
)

// relayDays is the number of days that the pages show of the relay's use.
const relayDays = 30

// relayPages shows the use of the relay.
type relayPages struct {
	history History
	charts  relayCharts
}

func (p *relayPages) pages() []page {
	return []page{{path: "/relay", name: "relay", title: "Relay", nav: "relay", scope: api.ScopePeers, load: p.load}}
}

// relayPage is the data of the page.
type relayPage struct {
	Chart chart
	Days  int
	Sum   history.RelayDay
	Rows  []relayRow
}

// relayRow is the use of one peer.
type relayRow struct {
	history.RelayUse
	Share int // percent of the use of all peers
}

// DisplayName returns the name of the peer, or its short ID if it has none.
func (r relayRow) DisplayName() string {
	if r.Name == "" {
		return r.Peer.Short()
	}
	return r.Name
}

func (p *relayPages) load(v *view) error {
	page := relayPage{Days: relayDays}
	var err error
	if page.Chart, page.Sum, err = p.charts.draw(v, ident.PeerID{}); err != nil {
		return err
	}
	most, err := p.history.RelayUse(v.ctx, relayDays, perPage)
	if err != nil {
		return err
	}
	all := page.Sum.SentBytes + page.Sum.ReceivedBytes
	for _, u := range most {
		page.Rows = append(page.Rows, relayRow{u, int(math.Round(100 * float64(u.Bytes()) / float64(max(all, 1))))})
	}
	v.Data = page
	return nil
}

// relayCharts draws the use of the relay by the day.
type relayCharts struct {
	history History
	now     func() time.Time
}

// draw draws the use of one peer, or of all peers if peer is zero. It also returns
// the total.
func (r relayCharts) draw(v *view, peer ident.PeerID) (c chart, sum history.RelayDay, err error) {
	days, err := r.history.RelayDays(v.ctx, relayDays, peer)
	if err != nil {
		return c, sum, err
	}
	first := history.DayOf(r.now()) - relayDays + 1
	sent, received := newSeries("Sent by peers", "one", relayDays), newSeries("Received by peers", "two", relayDays)
	if !peer.IsZero() {
		sent.Name, received.Name = "Sent", "Received"
	}
	for _, d := range days {
		sent.set(int(d.Day-first), d.SentBytes)
		received.set(int(d.Day-first), d.ReceivedBytes)
		sum.SentBytes += d.SentBytes
		sum.SentPackets += d.SentPackets
		sum.ReceivedBytes += d.ReceivedBytes
		sum.ReceivedPackets += d.ReceivedPackets
	}
	c = chart{
		Title: "Relayed per day", Series: []series{sent, received},
		From: first.Time(), Step: 24 * time.Hour, Steps: relayDays, Stacked: true, Bytes: true, Sum: true,
	}
	return c.draw(), sum, nil
}
