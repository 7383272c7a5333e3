package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

type statusCommand struct{ asking }

// Run shows how things are.
func (c *statusCommand) Run(p *program) error {
	s, err := c.agent(p).Status(p.ctx)
	if err != nil {
		return err
	}
	return p.result(s, func() { p.showStatus(s) })
}

func (p *program) showStatus(s localapi.Status) {
	p.say("%s  %s", s.Self.Name, s.Self.ID)
	p.say("  version     %s, up %s", s.Self.Version, p.since(s.Self.Since))
	p.say("  rendezvous  %s", s.Rendezvous.Detail)
	if s.NAT != "" {
		p.say("  NAT         %s", s.NAT)
	}
	if len(s.Self.Listen) > 0 {
		p.say("  listening   %s", strings.Join(s.Self.Listen, ", "))
	}
	for _, note := range s.Self.Notes {
		p.say("  note        %s", note)
	}
	p.say("\nPaired machines")
	if len(s.Peers) == 0 {
		p.say("  none; begin with: easyfind pair")
	}
	for _, peer := range s.Peers {
		p.showPeer(peer)
	}
	p.showUses(s.Uses)
	p.showExports(s.Exports)
}

func (p *program) showPeer(peer localapi.PeerStatus) {
	p.say("  %s  %s  session %s", peer.Name, peer.ID.Short(), peer.Session)
	if l := peer.Link; l != nil {
		secrecy := "encrypted"
		if !l.Encrypted {
			secrecy = "NOT ENCRYPTED"
		}
		p.say("    path      %s: %s, %s, %s", l.Rank, l.Transport, route(*l), secrecy)
		p.say("    quality   round trip %s, loss %.1f %%, sent %s, received %s, for %s",
			millis(l.RTTMillis), 100*l.Loss, amount(l.BytesSent), amount(l.BytesReceived), p.since(l.Since))
	}
	if peer.WhyNoBetter != "" {
		p.say("    why       %s", peer.WhyNoBetter)
	}
	for _, a := range peer.Attachments {
		p.say("    device    %s", a)
	}
}

func (p *program) showUses(uses []localapi.Use) {
	if len(uses) == 0 {
		return
	}
	p.say("\nUsed here")
	rows := make([][]string, len(uses))
	for i, u := range uses {
		rows[i] = []string{u.ID, u.Name, place(u), u.Reason, p.since(u.Since)}
	}
	p.table([]string{"USE", "NAME", "STATE", "REASON", "FOR"}, rows)
}

func (p *program) showExports(exports []localapi.Export) {
	if len(exports) == 0 {
		return
	}
	p.say("\nUsed by other machines")
	rows := make([][]string, len(exports))
	for i, e := range exports {
		rows[i] = []string{e.Device, e.Name, e.Peer, p.since(e.Since)}
	}
	p.table([]string{"DEVICE", "NAME", "BY", "FOR"}, rows)
}

// place says where a used device is.
func place(u localapi.Use) string {
	switch {
	case u.State == localapi.UseAttached && u.Endpoint:
		return fmt.Sprintf("offered as %s on %s", u.BusID, u.Address)
	case u.State == localapi.UseAttached && u.Port >= 0:
		return fmt.Sprintf("attached to vhci port %d", u.Port)
	}
	return string(u.State)
}

func route(l localapi.Link) string {
	if l.Relay != "" {
		return fmt.Sprintf("%s → relay %s → %s", l.Local, l.Relay, l.Remote)
	}
	return fmt.Sprintf("%s → %s", l.Local, l.Remote)
}

// since writes how long ago t was, to two units.
func (p *program) since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := max(0, p.now().Sub(t))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

func millis(ms float64) string {
	if ms == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// amount writes a count in decimal units.
func amount(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= 999.95 && unit < len("kMGTPE") {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGTPE"[unit-1])
}
