package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

type devicesCommand struct{ asking }

// Run lists the devices of this machine.
func (c *devicesCommand) Run(p *program) error {
	devices, err := c.agent(p).Devices(p.ctx)
	if err != nil {
		return err
	}
	return p.result(devices, func() {
		if len(devices) == 0 {
			p.say("No USB device is plugged in.")
			return
		}
		rows := make([][]string, len(devices))
		for i, d := range devices {
			rows[i] = []string{d.ID, d.Name, numbers(d.VendorID, d.ProductID), d.Kind, d.Speed, sharing(d)}
		}
		p.table([]string{"DEVICE", "NAME", "VID:PID", "KIND", "SPEED", "STATE"}, rows)
	})
}

// numbers writes vendor and product as everybody does.
func numbers(vendor, product uint16) string { return fmt.Sprintf("%04x:%04x", vendor, product) }

// sharing says in a few words who may have a device and who has it.
func sharing(d localapi.Device) string {
	var words []string
	if d.UsedBy != "" {
		words = append(words, "used by "+d.UsedBy)
	}
	if d.Share != nil {
		words = append(words, "shared with "+audience(*d.Share))
	}
	if d.InUse != "" {
		words = append(words, "in use here: "+d.InUse)
	}
	if len(words) == 0 {
		return "not shared"
	}
	return strings.Join(words, "; ")
}

// audience names those who may use a shared device.
func audience(s localapi.Share) string {
	who := "every paired machine"
	if len(s.With) > 0 {
		who = strings.Join(s.With, ", ")
	}
	if !s.Until.IsZero() {
		who += " until " + s.Until.Local().Format("2006-01-02 15:04")
	}
	return who
}

type shareCommand struct {
	asking
	Device string        `arg:"" help:"Bus id, vendor:product or serial number."`
	With   []string      `placeholder:"PEER" sep:"none" env:"-" help:"Only with this machine (may be repeated); without it, with every paired one."`
	Force  bool          `env:"-" help:"Also if this machine uses it itself: a mounted disk is taken away."`
	For    time.Duration `placeholder:"8h" env:"-" help:"Only for so long."`
}

// Help is shown below the command's flags.
func (*shareCommand) Help() string {
	return `Examples:

  easyfind share 2-1                        with every paired machine
  easyfind share 0951:1666 --with laptop    this kind of device, with one
  easyfind share 2-1 --for 8h               until tonight`
}

// Run shares a device.
func (c *shareCommand) Run(p *program) error {
	request := localapi.ShareRequest{Device: c.Device, With: c.With, Force: c.Force}
	if c.For != 0 {
		request.Until = p.now().Add(c.For)
	}
	backend := c.agent(p)
	if c.For < 0 {
		return &localapi.Problem{Code: localapi.CodeInvalid, Detail: "--for wants a time that is not over, such as 8h"}
	}
	share, err := backend.Share(p.ctx, request)
	if err != nil {
		return err
	}
	return p.result(share, func() { p.say("%s is shared with %s.", share.Device, audience(share)) })
}

type unshareCommand struct {
	asking
	Device string `arg:"" help:"What was shared, as \"easyfind devices\" shows it."`
}

// Run takes a device back.
func (c *unshareCommand) Run(p *program) error {
	if err := c.agent(p).Unshare(p.ctx, c.Device); err != nil {
		return err
	}
	return p.result(map[string]string{"unshared": c.Device}, func() { p.say("%s is no longer shared.", c.Device) })
}
