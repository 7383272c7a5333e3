package main

import (
	"encoding/json"
	"fmt"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

type doctorCommand struct {
	JoinLink string `name:"join-link" env:"-" help:"Meet the server of this link, or at this https:// address, in place of this one." placeholder:"LINK"`
	JSON     bool   `name:"json" env:"-" help:"Write JSON."`
}

// Help is shown below the command's flags.
func (*doctorCommand) Help() string {
	return `It looks at the settings, the data directory, the database, the other instances and the ports, and meets the server at
its public address as an agent does: HTTPS, certificate, signalling, STUN, and a packet through the relay over UDP, TCP
and TLS. Give it the settings that the server has. ✓ is well, ✗ is wrong and says what to do, – could not be told.

What firewalls do to others shows from outside only: run "easyfind doctor" on an agent elsewhere.

Exit codes: 0 nothing is wrong, 1 something is.`
}

// Run looks, and says what it has found.
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
