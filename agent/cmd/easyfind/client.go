package main

import (
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

type lsCommand struct {
	asking
	Peer string `arg:"" optional:"" help:"Of this machine only."`
}

// Run lists the devices of other machines.
func (c *lsCommand) Run(p *program) error {
	devices, err := c.agent(p).RemoteDevices(p.ctx, c.Peer)
	if err != nil {
		return err
	}
	return p.result(devices, func() {
		if len(devices) == 0 {
			p.say("Nothing is shared with this machine. On the other one: easyfind share DEVICE")
			return
		}
		rows := make([][]string, len(devices))
		for i, d := range devices {
			state := "free"
			switch {
			case d.Used:
				state = "used here"
			case d.InUseBy != "":
				state = "in use: " + d.InUseBy
			}
			rows[i] = []string{d.Peer, d.ID, d.Name, numbers(d.VendorID, d.ProductID), d.Kind, d.Speed, state}
		}
		p.table([]string{"PEER", "DEVICE", "NAME", "VID:PID", "KIND", "SPEED", "STATE"}, rows)
	})
}

type useCommand struct {
	asking
	Peer     string `arg:"" help:"The machine that has the device."`
	Device   string `arg:"" help:"Bus id, vendor:product or serial number."`
	Endpoint bool   `env:"-" help:"Offer it on the loopback USB/IP server instead of attaching it to this kernel."`
}

// Help is shown below the command's flags.
func (*useCommand) Help() string {
	return `The device stays in use, also over a restart of the agent, until "easyfind release".

Examples:

  easyfind use workshop 2-1               attach it to this machine (Linux, as root)
  easyfind use workshop 2-1 --endpoint    then, from here or a guest: usbip attach -r 127.0.0.1 -b BUSID`
}

// Run uses a far device and waits until it is there.
func (c *useCommand) Run(p *program) error {
	request := localapi.UseRequest{Peer: c.Peer, Device: c.Device, Endpoint: c.Endpoint}
	use, err := c.agent(p).Use(p.ctx, request, p.progress)
	if err != nil {
		return err
	}
	return p.result(use, func() {
		p.say("%s of %s is %s.", named(use.Name, use.Device), use.Peer, place(use))
		if use.Endpoint {
			p.say("Attach it with: usbip attach -r %s -b %s", hostOf(use.Address), use.BusID)
		}
		p.say("Give it back with: easyfind release %s", use.ID)
	})
}

// progress shows what is going on to a person who waits.
func (p *program) progress(now localapi.Progress) {
	if now.Message != "" {
		p.note("… %s", now.Message)
	}
}

func named(name, device string) string {
	if name == "" {
		return device
	}
	return name + " (" + device + ")"
}

func hostOf(address string) string {
	if i := strings.LastIndexByte(address, ':'); i > 0 {
		return strings.Trim(address[:i], "[]")
	}
	return address
}

type releaseCommand struct {
	asking
	Use string `arg:"" help:"The use or its device, as \"easyfind status\" shows it."`
}

// Run gives a far device back.
func (c *releaseCommand) Run(p *program) error {
	if err := c.agent(p).Release(p.ctx, c.Use); err != nil {
		return err
	}
	return p.result(map[string]string{"released": c.Use}, func() { p.say("%s is released.", c.Use) })
}
