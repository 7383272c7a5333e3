package main

import (
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

type lsCommand struct {
	agentFlags
	Peer string `arg:"" optional:"" help:"List the devices of this machine only."`
}

// Run lists the devices of other machines.
func (c *lsCommand) Run(p *program) error {
	devices, err := c.agent(p).RemoteDevices(p.ctx, c.Peer)
	if err != nil {
		return err
	}
	return p.result(devices, func() {
		if len(devices) == 0 {
			p.printf("No device is shared with this machine. On the other machine: easyfind share DEVICE")
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
	agentFlags
	Peer     string `arg:"" help:"Machine that shares the device."`
	Device   string `arg:"" help:"Bus id, vendor:product or serial number of the device."`
	Endpoint bool   `env:"-" help:"Export it on the loopback USB/IP server instead of attaching it here."`

	WriteCache     bool    `env:"-" name:"write-cache" help:"Answer writes to a disk before the disk has the data."`
	NoAcceleration bool    `env:"-" name:"no-acceleration" help:"Pass every transfer unchanged, without reading ahead."`
	Limit          bitRate `env:"-" placeholder:"20Mbit/s" help:"Cap the rate of the device's data, in each direction."`
}

// Help is shown below the command's flags.
func (*useCommand) Help() string {
	return `The device stays in use until "easyfind release", also when the agent restarts.

Examples:

  easyfind use workshop 2-1               attach it to this machine (Linux, as root)
  easyfind use workshop 2-1 --endpoint    export it; then: usbip attach -r 127.0.0.1 -b BUSID
  easyfind use workshop 2-1 --write-cache write to the disk as fast as the link
  easyfind use workshop 2-1 --limit 20Mbit/s

With --write-cache, a write is done for your programs before the disk has the data. What
"sync", fsync and umount have completed is on the disk, as with the cache of a local disk.
What came after is lost if the link is lost for good, and "easyfind status" shows it.`
}

// Run uses a remote device and waits until it is attached.
func (c *useCommand) Run(p *program) error {
	request := localapi.UseRequest{
		Peer: c.Peer, Device: c.Device, Endpoint: c.Endpoint, NoAcceleration: c.NoAcceleration,
		WriteCache: c.WriteCache,
		Limit:      uint64(c.Limit),
	}
	use, err := c.agent(p).Use(p.ctx, request, p.progress)
	if err != nil {
		return err
	}
	return p.result(use, func() {
		p.printf("%s of %s is %s.", withName(use.Name, use.Device), use.Peer, describeUse(use))
		if use.Endpoint {
			p.printf("Attach it with: usbip attach -r %s -b %s", hostOf(use.Address), use.BusID)
		}
		p.printf("Give it back with: easyfind release %s", use.ID)
	})
}

// progress writes the progress of the agent.
func (p *program) progress(now localapi.Progress) {
	if now.Message != "" {
		p.notef("… %s", now.Message)
	}
}

// withName returns the device with its name, if it has one.
func withName(name, device string) string {
	if name == "" {
		return device
	}
	return name + " (" + device + ")"
}

// hostOf returns the host of "host:port".
func hostOf(address string) string {
	if i := strings.LastIndexByte(address, ':'); i > 0 {
		return strings.Trim(address[:i], "[]")
	}
	return address
}

type releaseCommand struct {
	agentFlags
	Use string `arg:"" help:"Use or device, as \"easyfind status\" shows it."`
}

// Run gives a remote device back.
func (c *releaseCommand) Run(p *program) error {
	if err := c.agent(p).Release(p.ctx, c.Use); err != nil {
		return err
	}
	return p.result(map[string]string{"released": c.Use}, func() { p.printf("%s is released.", c.Use) })
}
