package main

import "github.com/alecthomas/kong"

const description = `Share USB devices across the internet: a device plugged in there appears here.

Begin on both machines with "easyfind up", pair them once with "easyfind pair", then:

  on the machine with the device    easyfind devices
                                    easyfind share 2-1
  on the other machine              easyfind ls
                                    easyfind use workshop 2-1

DEVICE is a bus id ("2-1"), vendor:product ("0951:1666") or a serial number.
PEER is the name of a paired machine or the beginning of its ID.

Exit codes: 1 failed, 2 bad usage, 3 no agent runs, 4 unknown device, peer or use, 5 in use, 6 not permitted,
7 pairing refused, 8 unreachable, 9 not possible on this machine.`

var groups = []kong.Group{
	{Key: "agent", Title: "The agent"},
	{Key: "peers", Title: "Other machines"},
	{Key: "host", Title: "Devices of this machine"},
	{Key: "client", Title: "Devices of other machines"},
}

// commands is the command line.
type commands struct {
	Config kong.ConfigFlag `help:"Read settings from this YAML file." type:"existingfile" placeholder:"FILE"`

	Up      upCommand      `cmd:"" group:"agent" help:"Run the agent."`
	Status  statusCommand  `cmd:"" group:"agent" help:"Show links, their paths and why, and what is used by whom."`
	Doctor  doctorCommand  `cmd:"" group:"agent" help:"Look at the rendezvous from here: what is wrong, and what to do."`
	Version versionCommand `cmd:"" group:"agent" help:"Show the version."`

	Pair   pairCommand   `cmd:"" group:"peers" help:"Pair with another machine: without arguments, offer an address and PIN; with them, join."`
	Peers  peersCommand  `cmd:"" group:"peers" help:"List the paired machines."`
	Forget forgetCommand `cmd:"" group:"peers" help:"End the trust in a paired machine."`
	Reach  reachCommand  `cmd:"" group:"peers" help:"Set where a paired machine is reached without a rendezvous."`

	Devices devicesCommand `cmd:"" group:"host" help:"List the devices of this machine."`
	Share   shareCommand   `cmd:"" group:"host" help:"Let paired machines use a device."`
	Unshare unshareCommand `cmd:"" group:"host" help:"Take a device back."`

	Ls      lsCommand      `cmd:"" group:"client" help:"List the devices that other machines share."`
	Use     useCommand     `cmd:"" group:"client" help:"Use a device of another machine as if it were plugged in here."`
	Release releaseCommand `cmd:"" group:"client" help:"Stop using a device."`
}
