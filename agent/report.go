package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/peer"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
)

// Status implements localapi.Backend.
func (a *Agent) Status(context.Context) (localapi.Status, error) {
	known := a.store.State()
	st := localapi.Status{
		Self:       localapi.Self{ID: a.store.Key().ID(), Name: a.cfg.Name, Version: a.cfg.Version, Since: a.began, Listen: a.listening},
		Rendezvous: a.rendezvousStatus(),
		NAT:        a.network.paths.NAT().Explain(),
		Peers:      []localapi.PeerStatus{}, Uses: []localapi.Use{}, Exports: []localapi.Export{},
	}
	if a.cfg.TCPListen != "" {
		st.Self.Notes = append(st.Self.Notes, "links over plain TCP are accepted: they are authenticated but not encrypted")
	}
	for _, p := range known.Peers {
		if r := a.peers.get(p.ID); r != nil {
			st.Peers = append(st.Peers, a.peerStatus(p, r.Status()))
		}
	}
	for _, u := range a.using.List() {
		st.Uses = append(st.Uses, a.useOf(u))
	}
	devices, err := a.sharing.Devices()
	if err != nil {
		st.Self.Notes = append(st.Self.Notes, "some USB devices of this machine cannot be listed: "+err.Error())
	}
	for _, d := range devices {
		if !d.Holder.IsZero() {
			st.Exports = append(st.Exports, localapi.Export{Device: d.ID, Name: d.Name(), Peer: a.peers.Name(d.Holder), Since: d.Since})
		}
	}
	return st, nil
}

func (a *Agent) rendezvousStatus() localapi.Rendezvous {
	if a.rendezvous == nil {
		return localapi.Rendezvous{Detail: "none is set: peers are reached at their direct addresses only"}
	}
	s := a.rendezvous.State()
	return localapi.Rendezvous{URL: "https://" + a.rendezvous.Host() + "/", Connected: s.Connected, Via: string(s.Via), Detail: s.String()}
}

func (a *Agent) peerStatus(p state.Peer, s peer.Status) localapi.PeerStatus {
	st := localapi.PeerStatus{
		ID: p.ID, Name: p.Name, Session: a.inWords(s), Up: s.Session.Linked, Since: s.Session.Since, WhyNoBetter: s.Why,
	}
	for _, l := range s.Session.Links {
		if l.Active {
			st.Link = linkOf(l)
		}
	}
	for _, t := range s.Session.Attachments {
		role := "used there"
		if t.Client {
			role = "used here"
		}
		st.Attachments = append(st.Attachments, fmt.Sprintf("%s %s (%s)", t.Device, t.Name, role))
	}
	return st
}

// inWords says how a session is.
func (a *Agent) inWords(s peer.Status) string {
	switch {
	case s.Session.Linked:
		return "up"
	case len(s.Session.Attachments) > 0:
		return fmt.Sprintf("no link for %v of %v", time.Since(s.Session.Since).Round(time.Second), a.cfg.Budget)
	case s.Calling:
		return "connecting"
	case s.Wanted:
		return "not reached"
	}
	return "idle"
}

func linkOf(l session.LinkStatus) *localapi.Link {
	return &localapi.Link{
		Rank: l.Rank, Transport: l.Path.Transport, Local: l.Path.Local, Remote: l.Path.Remote, Relay: l.Path.Relay, Encrypted: l.Path.Encrypted,
		RTTMillis: float64(l.Stats.RTT.Microseconds()) / 1000, Loss: l.Stats.Loss,
		BytesSent: l.Stats.BytesSent, BytesReceived: l.Stats.BytesReceived, Since: l.Since,
	}
}
