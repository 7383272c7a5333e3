package main

import (
	"errors"

	"github.com/easyfind-usb/easyfind/internal/doctor"
)

type doctorCommand struct{ asking }

// Help is shown below the command's flags.
func (*doctorCommand) Help() string {
	return `The running agent looks at its rendezvous from where it is: whether the address is reached, the certificate, the clock,
signalling, STUN, and a packet through the relay over UDP, TCP and TLS. ✓ is well, ✗ is wrong and says what to do, – does
not matter here or could not be told. It takes up to half a minute. Exit code 1 if anything is wrong.

What the server can see of itself, "easyfind-rendezvous doctor" says there.`
}

// Run shows what the agent has found.
func (c *doctorCommand) Run(p *program) error {
	found, err := c.agent(p).Doctor(p.ctx)
	if err != nil {
		return err
	}
	for i := range found {
		found[i].Detail, found[i].Do = clean(found[i].Detail), clean(found[i].Do)
	}
	var writing error
	if err := p.result(found, func() { writing = doctor.Write(p.out, found) }); err != nil || writing != nil {
		return errors.Join(err, writing)
	}
	if doctor.Failed(found) {
		return errSick
	}
	return nil
}

var errSick = errors.New("something is wrong: see the lines marked ✗")
