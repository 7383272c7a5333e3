package web

import (
	"math"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

const relayDays = 30

// relayPage is what was relayed, and for whom.
type relayPage struct {
	Chart chart
	Days  int
	Sum   registry.RelayDay
	Rows  []relayRow
}

// relayRow is one peer's part.
type relayRow struct {
	registry.RelayUse
	Share int // of a hundred
}

// Called is what the peer is called.
func (r relayRow) Called() string {
	if r.Name == "" {
		return r.Peer.Short()
	}
	return r.Name
}

func (p *Pages) loadRelay(v *view) error {
	page := relayPage{Days: relayDays}
	var err error
	if page.Chart, page.Sum, err = p.relayChart(v, ident.PeerID{}); err != nil {
		return err
	}
	most, err := p.cfg.Registry.RelayUse(v.ctx, relayDays, perPage)
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

// relayChart draws what a peer, or all together, have had relayed by the day.
func (p *Pages) relayChart(v *view, peer ident.PeerID) (c chart, sum registry.RelayDay, err error) {
	days, err := p.cfg.Registry.RelayDays(v.ctx, relayDays, peer)
	if err != nil {
		return c, sum, err
	}
	first := registry.DayOf(p.cfg.Now()) - relayDays + 1
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
		Title: "Relayed by the day", Series: []series{sent, received}, From: first.Time(), Step: 24 * time.Hour, Steps: relayDays,
		Stacked: true, Bytes: true, Sum: true,
	}
	return c.draw(), sum, nil
}
