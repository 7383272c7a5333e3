package backend

import (
	"context"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/peer"
	"github.com/easyfind-usb/easyfind/agent/internal/peers"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/internal/doctor"
)

// Reports implements localapi.Reports.
type Reports struct {
	Self       localapi.Self // as the status shows it
	Budget     time.Duration // see session.Config
	Store      *state.Store
	Set        *peers.Set
	Uses       Uses
	Sharing    *sharing.Manager
	Rendezvous *rvclient.Client // nil: none
	NAT        func() string    // describes the NAT
	Examine    func(context.Context) []doctor.Finding
}

// Doctor implements localapi.Reports.
func (r Reports) Doctor(ctx context.Context) ([]doctor.Finding, error) {
	return r.Examine(ctx), nil
}

// Status implements localapi.Reports.
func (r Reports) Status(context.Context) (localapi.Status, error) {
	st := localapi.Status{
		Self: r.Self, Rendezvous: r.rendezvous(), NAT: r.NAT(), Uses: r.Uses.List(),
		Peers: []localapi.PeerStatus{}, Exports: []localapi.Export{},
	}
	for _, p := range r.Store.State().Peers {
		if running := r.Set.Get(p.ID); running != nil {
			st.Peers = append(st.Peers, r.peer(p, running.Status()))
		}
	}
	devices, err := r.Sharing.Devices()
	if err != nil {
		note := "some USB devices of this machine cannot be listed: " + err.Error()
		st.Self.Notes = append(st.Self.Notes[:len(st.Self.Notes):len(st.Self.Notes)], note)
	}
	for _, d := range devices {
		if !d.Holder.IsZero() {
			st.Exports = append(st.Exports, localapi.Export{
				Device: d.ID, Name: d.Name(), Peer: r.Store.PeerName(d.Holder), Since: d.Since,
			})
		}
	}
	return st, nil
}

func (r Reports) rendezvous() localapi.Rendezvous {
	if r.Rendezvous == nil {
		return localapi.Rendezvous{Detail: "none is set: peers are reached at their direct addresses only"}
	}
	s := r.Rendezvous.State()
	return localapi.Rendezvous{
		URL: "https://" + r.Rendezvous.Host() + "/", Connected: s.Connected, Via: string(s.Via), Detail: s.String(),
	}
}

func (r Reports) peer(p state.Peer, s peer.Status) localapi.PeerStatus {
	st := localapi.PeerStatus{
		ID: p.ID, Name: p.Name, Session: r.describe(s), Up: s.Session.Linked, Since: s.Session.Since,
		WhyNoBetter: s.Reason, Limit: s.Session.Limit,
	}
	for _, l := range s.Session.Links {
		if l.Active {
			st.Link = linkView(l)
		}
	}
	for _, a := range s.Session.Attachments {
		place := "used there"
		if a.Client {
			place = "used here"
		}
		st.Attachments = append(st.Attachments, fmt.Sprintf("%s %s (%s)", a.Device, a.Name, place))
	}
	return st
}

// describe returns the state of a session in words.
func (r Reports) describe(s peer.Status) string {
	switch {
	case s.Session.Linked:
		return "up"
	case len(s.Session.Attachments) > 0:
		return fmt.Sprintf("no link for %v of %v", time.Since(s.Session.Since).Round(time.Second), r.Budget)
	case s.Calling:
		return "connecting"
	case s.Wanted:
		return "not reached"
	}
	return "idle"
}

func linkView(l session.LinkStatus) *localapi.Link {
	return &localapi.Link{
		Rank: l.Rank, Transport: l.Path.Transport,
		Local: l.Path.Local, Remote: l.Path.Remote, Relay: l.Path.Relay, Encrypted: l.Path.Encrypted,
		RTTMillis: float64(l.Stats.RTT.Microseconds()) / 1000, Loss: l.Stats.Loss,
		BytesSent: l.Stats.BytesSent, BytesReceived: l.Stats.BytesReceived, Since: l.Since,
	}
}
