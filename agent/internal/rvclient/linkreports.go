package rvclient

import (
	"context"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// settleTime is the delay between a change of links and the report of it. Links
// often change several times in short succession.
const settleTime = time.Second

// LinkReport describes the active link to a peer, without any address.
type LinkReport struct {
	Kind      signal.LinkKind
	Transport signal.Transport
	RTT       time.Duration // round-trip time; 0 if not measured
}

// linkReports holds the reports that the rendezvous should have.
type linkReports struct {
	changed chan struct{} // of capacity 1: current has changed

	// Guarded by mu.
	mu      sync.Mutex
	current map[ident.PeerID]LinkReport
}

func newLinkReports() *linkReports { return &linkReports{changed: make(chan struct{}, 1)} }

// ReportLinks sets the reports of all links; a peer that is not in the map has no
// link. The client sends the changes to the rendezvous, if that accepts link
// reports, as soon as it is connected. ReportLinks does not block. The caller
// must not change the map afterwards.
func (c *Client) ReportLinks(current map[ident.PeerID]LinkReport) {
	c.links.mu.Lock()
	c.links.current = current
	c.links.mu.Unlock()
	c.links.notify()
}

func (r *linkReports) notify() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// changes returns the messages for the difference between reported, the reports
// that the rendezvous has, and the current reports. It updates reported. A change
// of the round-trip time alone makes no message.
func (r *linkReports) changes(reported map[ident.PeerID]LinkReport) []signal.LinkReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []signal.LinkReport
	for id, now := range r.current {
		if before := reported[id]; before.Kind != now.Kind || before.Transport != now.Transport {
			reported[id] = now
			all = append(all, signal.LinkReport{Peer: id, Kind: now.Kind, Transport: now.Transport, RTT: now.RTT})
		}
	}
	for id := range reported {
		if _, still := r.current[id]; !still {
			delete(reported, id)
			all = append(all, signal.LinkReport{Peer: id})
		}
	}
	return all
}

// send sends the reports on a connection until ctx ends or a write fails. It
// sends nothing if the rendezvous does not have signal.FeatureLinkReports.
func (r *linkReports) send(ctx context.Context, c *connection) error {
	if err := c.write(signal.Ping{Token: signal.AskFeatures}); err != nil {
		return err
	}
	select {
	case offered := <-c.features:
		if offered&signal.FeatureLinkReports == 0 {
			return nil
		}
	case <-ctx.Done(): // a rendezvous of the first version does not send Features
		return nil
	}
	r.notify() // a new connection starts with all reports
	reported := map[ident.PeerID]LinkReport{}
	for {
		select {
		case <-r.changed:
		case <-ctx.Done():
			return nil
		}
		timer := time.NewTimer(settleTime)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		for _, m := range r.changes(reported) {
			if err := c.write(m); err != nil {
				return err
			}
		}
	}
}
