package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

type statusCommand struct{ agentFlags }

// Run shows the state of the agent.
func (c *statusCommand) Run(p *program) error {
	s, err := c.agent(p).Status(p.ctx)
	if err != nil {
		return err
	}
	return p.result(s, func() { p.showStatus(s) })
}

func (p *program) showStatus(s localapi.Status) {
	p.printf("%s  %s", s.Self.Name, s.Self.ID)
	p.printf("  version     %s, up %s", s.Self.Version, p.since(s.Self.Since))
	p.printf("  rendezvous  %s", s.Rendezvous.Detail)
	if s.NAT != "" {
		p.printf("  NAT         %s", s.NAT)
	}
	if len(s.Self.Listen) > 0 {
		p.printf("  listening   %s", strings.Join(s.Self.Listen, ", "))
	}
	for _, note := range s.Self.Notes {
		p.printf("  note        %s", note)
	}
	p.printf("\nPaired machines")
	if len(s.Peers) == 0 {
		p.printf("  none; pair one with: easyfind pair")
	}
	for _, peer := range s.Peers {
		p.showPeer(peer)
	}
	p.showUses(s.Uses)
	p.showExports(s.Exports)
}

func (p *program) showPeer(peer localapi.PeerStatus) {
	p.printf("  %s  %s  session %s", peer.Name, peer.ID.Short(), peer.Session)
	if l := peer.Link; l != nil {
		encryption := "encrypted"
		if !l.Encrypted {
			encryption = "NOT ENCRYPTED"
		}
		p.printf("    path      %s: %s, %s, %s", l.Rank, l.Transport, route(*l), encryption)
		p.printf("    quality   round trip %s, loss %.1f %%, sent %s, received %s, for %s",
			millis(l.RTTMillis), 100*l.Loss, amount(l.BytesSent), amount(l.BytesReceived), p.since(l.Since))
	}
	if peer.WhyNoBetter != "" {
		p.printf("    why       %s", peer.WhyNoBetter)
	}
	if peer.Limit > 0 {
		p.printf("    limit     %s in each direction", bitRate(peer.Limit))
	}
	for _, a := range peer.Attachments {
		p.printf("    device    %s", a)
	}
}

func (p *program) showUses(uses []localapi.Use) {
	if len(uses) == 0 {
		return
	}
	p.printf("\nUsed here")
	rows := make([][]string, len(uses))
	for i, u := range uses {
		rows[i] = []string{u.ID, u.Name, describeUse(u) + atMost(u.Limit), u.Reason, p.since(u.Since)}
	}
	p.table([]string{"USE", "NAME", "STATE", "REASON", "FOR"}, rows)
	for _, u := range uses {
		for _, s := range u.Stages {
			p.printf("  %s  %s acceleration: %s", u.ID, s.Name, describeStage(s))
		}
	}
}

// describeStage returns what an acceleration has done, or why it is off.
func describeStage(s localapi.Stage) string {
	if s.Off != "" {
		return "off, " + s.Off
	}
	if s.Name == "isochronous" {
		return fmt.Sprintf("on, %d transfers; %d packets were lost, %d too late, %d lost and recovered",
			s.Commands, s.Lost, s.Late, s.Recovered)
	}
	text := fmt.Sprintf("on, %d of %d %s answered without a round trip, %s read ahead, %s of that not used",
		s.Hits, s.Commands, s.Unit, amount(uint64(s.Ahead)), amount(uint64(s.Discarded)))
	if s.WriteCache {
		text += fmt.Sprintf("; write cache: %s written, %s of that not on the disk yet",
			amount(uint64(s.Cached)), amount(uint64(s.Unwritten)))
	}
	if s.Unsaved > 0 {
		text += fmt.Sprintf(", %s LOST", amount(uint64(s.Unsaved)))
	}
	return text
}

func (p *program) showExports(exports []localapi.Export) {
	if len(exports) == 0 {
		return
	}
	p.printf("\nUsed by other machines")
	rows := make([][]string, len(exports))
	for i, e := range exports {
		rows[i] = []string{e.Device, e.Name, e.Peer, p.since(e.Since)}
	}
	p.table([]string{"DEVICE", "NAME", "BY", "FOR"}, rows)
}

// describeUse returns the state of a use, and where the device is attached.
func describeUse(u localapi.Use) string {
	switch {
	case u.State == localapi.UseAttached && u.Endpoint:
		return fmt.Sprintf("offered as %s on %s", u.BusID, u.Address)
	case u.State == localapi.UseAttached && u.Port >= 0:
		return fmt.Sprintf("attached to vhci port %d", u.Port)
	}
	return string(u.State)
}

// route returns the addresses of a link.
func route(l localapi.Link) string {
	if l.Relay != "" {
		return fmt.Sprintf("%s → relay %s → %s", l.Local, l.Relay, l.Remote)
	}
	return fmt.Sprintf("%s → %s", l.Local, l.Remote)
}

// since formats the time since t in at most two units.
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

// amount formats a number of bytes in decimal units.
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
