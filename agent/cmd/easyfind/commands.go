package main

import "github.com/alecthomas/kong"

const description = `Share USB devices across the internet: a device that is plugged in there appears here.

Run "easyfind up" on both machines, pair them once with "easyfind pair", and then:

  on the machine with the device    easyfind devices
                                    easyfind share 2-1
  on the other machine              easyfind ls
                                    easyfind use workshop 2-1

DEVICE is a bus id ("2-1"), vendor:product ("0951:1666") or a serial number.
PEER is the name of a paired machine or the beginning of its ID.

Exit codes: 1 failure, 2 wrong usage, 3 no agent is running, 4 unknown device, peer or use, 5 device in use,
6 no permission, 7 pairing refused, 8 peer or rendezvous unreachable, 9 not possible on this machine.`

var groups = []kong.Group{
	{Key: "agent", Title: "The agent"},
	{Key: "peers", Title: "Other machines"},
	{Key: "host", Title: "Devices of this machine"},
	{Key: "client", Title: "Devices of other machines"},
}

// commands defines the command line.
type commands struct {
	Config kong.ConfigFlag `help:"Read settings from this YAML file." type:"existingfile" placeholder:"FILE"`

	Up      upCommand      `cmd:"" group:"agent" help:"Run the agent."`
	Status  statusCommand  `cmd:"" group:"agent" help:"Show the links to other machines and the devices in use."`
	Doctor  doctorCommand  `cmd:"" group:"agent" help:"Check the rendezvous and the network, and say what to do."`
	Version versionCommand `cmd:"" group:"agent" help:"Show the version."`

	Pair   pairCommand   `cmd:"" group:"peers" help:"Pair with another machine."`
	Peers  peersCommand  `cmd:"" group:"peers" help:"List the paired machines."`
	Forget forgetCommand `cmd:"" group:"peers" help:"Remove a paired machine."`
	Reach  reachCommand  `cmd:"" group:"peers" help:"Set addresses of a machine that work without a rendezvous."`
	Limit  limitCommand  `cmd:"" group:"peers" help:"Cap the rate of the data to and from a machine."`

	Devices devicesCommand `cmd:"" group:"host" help:"List the devices of this machine."`
	Share   shareCommand   `cmd:"" group:"host" help:"Let paired machines use a device."`
	Unshare unshareCommand `cmd:"" group:"host" help:"End a share and take the device back."`

	Ls      lsCommand      `cmd:"" group:"client" help:"List the devices that other machines share with this one."`
	Use     useCommand     `cmd:"" group:"client" help:"Use a device of another machine as if it were plugged in here."`
	Release releaseCommand `cmd:"" group:"client" help:"Give a device of another machine back."`
}
