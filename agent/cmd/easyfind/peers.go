package main

import (
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

type peersCommand struct{ asking }

// Run lists the paired machines.
func (c *peersCommand) Run(p *program) error {
	peers, err := c.agent(p).Peers(p.ctx)
	if err != nil {
		return err
	}
	return p.result(peers, func() {
		if len(peers) == 0 {
			p.say("This machine is not paired with another. Begin with: easyfind pair")
			return
		}
		rows := make([][]string, len(peers))
		for i, peer := range peers {
			state := "not connected"
			if peer.Connected {
				state = "connected"
			}
			rows[i] = []string{peer.Name, peer.ID.String(), state, peer.PairedAt.Local().Format("2006-01-02"), strings.Join(peer.Addresses, " ")}
		}
		p.table([]string{"NAME", "ID", "STATE", "PAIRED", "DIRECT ADDRESSES"}, rows)
	})
}

type forgetCommand struct {
	asking
	Peer string `arg:"" help:"Name of the machine, or the beginning of its ID."`
}

// Run ends the trust in a peer.
func (c *forgetCommand) Run(p *program) error {
	if err := c.agent(p).Forget(p.ctx, c.Peer); err != nil {
		return err
	}
	return p.result(map[string]string{"forgotten": c.Peer}, func() {
		p.say("%s is forgotten: it can no longer connect or use devices of this machine.", c.Peer)
	})
}

type reachCommand struct {
	asking
	Peer      string   `arg:"" help:"Name of the machine, or the beginning of its ID."`
	Addresses []string `arg:"" optional:"" name:"url" help:"tls://HOST:7574, or tcp://HOST:7575 for a trusted network."`
	Clear     bool     `env:"-" help:"Forget the addresses."`
}

// Help is shown below the command's flags.
func (*reachCommand) Help() string {
	return `The addresses replace those that were set before. Both machines must be paired; over tcp:// nothing is encrypted.

Examples:

  easyfind reach workshop tls://workshop.example.org
  easyfind reach workshop tcp://192.168.1.20:7575
  easyfind reach workshop --clear`
}

// Run sets a peer's direct addresses.
func (c *reachCommand) Run(p *program) error {
	backend := c.agent(p)
	if c.Clear == (len(c.Addresses) > 0) {
		return &localapi.Problem{Code: localapi.CodeInvalid, Detail: "give either addresses, such as tls://HOST:7574, or --clear"}
	}
	peer, err := backend.Reach(p.ctx, localapi.ReachRequest{Peer: c.Peer, Addresses: c.Addresses})
	if err != nil {
		return err
	}
	return p.result(peer, func() {
		if len(peer.Addresses) == 0 {
			p.say("%s has no direct address any more.", peer.Name)
			return
		}
		p.say("%s is also tried at %s.", peer.Name, strings.Join(peer.Addresses, ", "))
	})
}
