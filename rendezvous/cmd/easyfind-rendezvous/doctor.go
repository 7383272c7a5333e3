package main

import (
	"encoding/json"
	"fmt"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

type doctorCommand struct {
	JoinLink string `name:"join-link" env:"-" placeholder:"LINK" help:"Check another server, by its link or address."`
	JSON     bool   `name:"json" env:"-" help:"Write JSON."`
}

// Help is shown below the command's flags.
func (*doctorCommand) Help() string {
	return `The doctor checks the settings, the data directory, the database, the other instances and the ports. It then
connects to the public address as an agent does: HTTPS, certificate, signalling, STUN, and a packet through the relay
over UDP, TCP and TLS. Run it with the settings of the server. ✓ means that a check passed, ✗ that something is wrong,
with advice, and – that the result is unknown or not important.

This machine cannot see what firewalls do to others: run "easyfind doctor" on an agent in another network.

Exit codes: 0 nothing is wrong, 1 something is wrong.`
}

// Run checks the server and prints the findings.
func (d *doctorCommand) Run(p *program, c *commands) error {
	found := rendezvous.Doctor(p.ctx, c.Server, d.JoinLink)
	var err error
	if d.JSON {
		err = json.NewEncoder(p.out).Encode(struct {
			OK       bool             `json:"ok"`
			Findings []doctor.Finding `json:"findings"`
		}{!doctor.Failed(found), found})
	} else {
		err = doctor.Write(p.out, found)
	}
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if doctor.Failed(found) {
		return rendezvous.ErrSick
	}
	return nil
}
