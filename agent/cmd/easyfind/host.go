package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

type devicesCommand struct{ agentFlags }

// Run lists the devices of this machine.
func (c *devicesCommand) Run(p *program) error {
	devices, err := c.agent(p).Devices(p.ctx)
	if err != nil {
		return err
	}
	return p.result(devices, func() {
		if len(devices) == 0 {
			p.printf("No USB device is plugged in.")
			return
		}
		rows := make([][]string, len(devices))
		for i, d := range devices {
			rows[i] = []string{d.ID, d.Name, numbers(d.VendorID, d.ProductID), d.Kind, d.Speed, describeDevice(d)}
		}
		p.table([]string{"DEVICE", "NAME", "VID:PID", "KIND", "SPEED", "STATE"}, rows)
	})
}

// numbers formats a vendor and a product id.
func numbers(vendor, product uint16) string { return fmt.Sprintf("%04x:%04x", vendor, product) }

// describeDevice returns how a device is shared and used.
func describeDevice(d localapi.Device) string {
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

// audience names the machines that may use a shared device.
func audience(s localapi.Share) string {
	machines := "every paired machine"
	if len(s.With) > 0 {
		machines = strings.Join(s.With, ", ")
	}
	if !s.Until.IsZero() {
		machines += " until " + s.Until.Local().Format("2006-01-02 15:04")
	}
	return machines
}

type shareCommand struct {
	agentFlags
	Device string        `arg:"" help:"Bus id, vendor:product or serial number of the device."`
	With   []string      `placeholder:"PEER" sep:"none" env:"-" help:"${with_help}"`
	Force  bool          `env:"-" help:"Let peers take the device away from this machine, even a mounted disk."`
	For    time.Duration `placeholder:"8h" env:"-" help:"End the share after this time."`
}

// Help is shown below the command's flags.
func (*shareCommand) Help() string {
	return `Examples:

  easyfind share 2-1                        share it with every paired machine
  easyfind share 0951:1666 --with laptop    share devices of this kind with one machine
  easyfind share 2-1 --for 8h               share it for eight hours`
}

// Run shares a device.
func (c *shareCommand) Run(p *program) error {
	request := localapi.ShareRequest{Device: c.Device, With: c.With, Force: c.Force}
	if c.For != 0 {
		request.Until = p.now().Add(c.For)
	}
	backend := c.agent(p)
	if c.For < 0 {
		return &localapi.Problem{Code: localapi.CodeInvalid, Detail: "--for needs a positive time, such as 8h"}
	}
	share, err := backend.Share(p.ctx, request)
	if err != nil {
		return err
	}
	return p.result(share, func() { p.printf("%s is shared with %s.", share.Device, audience(share)) })
}

type unshareCommand struct {
	agentFlags
	Device string `arg:"" help:"Shared device, as \"easyfind devices\" shows it."`
}

// Run ends a share.
func (c *unshareCommand) Run(p *program) error {
	if err := c.agent(p).Unshare(p.ctx, c.Device); err != nil {
		return err
	}
	return p.result(map[string]string{"unshared": c.Device}, func() { p.printf("%s is no longer shared.", c.Device) })
}
