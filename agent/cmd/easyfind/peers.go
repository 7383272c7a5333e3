package main

import (
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

type peersCommand struct{ agentFlags }

// Run lists the paired machines.
func (c *peersCommand) Run(p *program) error {
	peers, err := c.agent(p).Peers(p.ctx)
	if err != nil {
		return err
	}
	return p.result(peers, func() {
		if len(peers) == 0 {
			p.printf("This machine is not paired with another one. Pair it with: easyfind pair")
			return
		}
		rows := make([][]string, len(peers))
		for i, peer := range peers {
			state := "not connected"
			if peer.Connected {
				state = "connected"
			}
			paired := peer.PairedAt.Local().Format("2006-01-02")
			rows[i] = []string{peer.Name, peer.ID.String(), state, paired, strings.Join(peer.Addresses, " ")}
		}
		p.table([]string{"NAME", "ID", "STATE", "PAIRED", "DIRECT ADDRESSES"}, rows)
	})
}

type forgetCommand struct {
	agentFlags
	Peer string `arg:"" help:"Name of the machine, or the beginning of its ID."`
}

// Run removes a paired machine.
func (c *forgetCommand) Run(p *program) error {
	if err := c.agent(p).Forget(p.ctx, c.Peer); err != nil {
		return err
	}
	return p.result(map[string]string{"forgotten": c.Peer}, func() {
		p.printf("%s is forgotten: it can no longer connect to this machine or use its devices.", c.Peer)
	})
}

type reachCommand struct {
	agentFlags
	Peer      string   `arg:"" help:"Name of the machine, or the beginning of its ID."`
	Addresses []string `arg:"" optional:"" name:"url" help:"tls://HOST:7574, or tcp://HOST:7575 in a trusted network."`
	Clear     bool     `env:"-" help:"Remove the addresses."`
}

// Help is shown below the command's flags.
func (*reachCommand) Help() string {
	return `The addresses replace those that were set before. The machines must be paired. Links over tcp:// are not
encrypted.

Examples:

  easyfind reach workshop tls://workshop.example.org
  easyfind reach workshop tcp://192.168.1.20:7575
  easyfind reach workshop --clear`
}

// Run replaces the direct addresses of a machine.
func (c *reachCommand) Run(p *program) error {
	backend := c.agent(p)
	if c.Clear == (len(c.Addresses) > 0) {
		return &localapi.Problem{
			Code: localapi.CodeInvalid, Detail: "give either addresses, such as tls://HOST:7574, or --clear",
		}
	}
	peer, err := backend.Reach(p.ctx, localapi.ReachRequest{Peer: c.Peer, Addresses: c.Addresses})
	if err != nil {
		return err
	}
	return p.result(peer, func() {
		if len(peer.Addresses) == 0 {
			p.printf("%s no longer has a direct address.", peer.Name)
			return
		}
		p.printf("%s is also tried at %s.", peer.Name, strings.Join(peer.Addresses, ", "))
	})
}

type limitCommand struct {
	agentFlags
	Peer string  `arg:"" help:"Name of the machine, or the beginning of its ID."`
	Rate bitRate `arg:"" help:"Such as 20Mbit/s or 500kbit/s; none removes the limit."`
}

// Help is shown below the command's flags.
func (*limitCommand) Help() string {
	return `The limit applies at once to each direction, for all devices together. If the other machine has a limit,
too, the lower one counts. Keyboards, mice and control messages do not wait. To cap one device, use it with --limit.

Examples:

  easyfind limit workshop 20Mbit/s
  easyfind limit workshop none`
}

// Run caps the rate of a machine.
func (c *limitCommand) Run(p *program) error {
	peer, err := c.agent(p).Limit(p.ctx, localapi.LimitRequest{Peer: c.Peer, Limit: uint64(c.Rate)})
	if err != nil {
		return err
	}
	return p.result(peer, func() {
		if peer.Limit == 0 {
			p.printf("This machine no longer limits the rate to and from %s.", peer.Name)
			return
		}
		p.printf("Data to and from %s are limited to %s each.", peer.Name, bitRate(peer.Limit))
	})
}
