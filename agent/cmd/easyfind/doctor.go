package main

import (
	"errors"

	"github.com/easyfind-usb/easyfind/internal/doctor"
)

type doctorCommand struct{ agentFlags }

// Help is shown below the command's flags.
func (*doctorCommand) Help() string {
	return `The running agent checks its rendezvous from here: the address, the certificate, the clock, signalling,
STUN, and a packet through the relay over UDP, TCP and TLS. This takes up to half a minute.

  ✓  the check passed
  ✗  the check failed; the line says what to do
  –  the check does not apply here or has no result

The exit code is 1 if a check failed. To check the server itself, run "easyfind-rendezvous doctor" there.`
}

// Run shows the findings of the agent.
func (c *doctorCommand) Run(p *program) error {
	found, err := c.agent(p).Doctor(p.ctx)
	if err != nil {
		return err
	}
	for i := range found {
		found[i].Detail, found[i].Do = clean(found[i].Detail), clean(found[i].Do)
	}
	var writeErr error
	if err := p.result(found, func() { writeErr = doctor.Write(p.out, found) }); err != nil || writeErr != nil {
		return errors.Join(err, writeErr)
	}
	if doctor.Failed(found) {
		return errFailed
	}
	return nil
}

var errFailed = errors.New("a check failed: see the lines marked ✗")
