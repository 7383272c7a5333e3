package agent

import (
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/backend"
	"github.com/easyfind-usb/easyfind/agent/internal/diagnosis"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
)

// addLocalAPI adds the server for the command line. It is the last part to start and
// the first to stop.
func (a *Agent) addLocalAPI() error {
	remote := backend.Remote{Store: a.store, Set: a.peers, Rendezvous: a.rendezvous, Logger: a.log}
	uses := backend.Uses{
		Store: a.store, Set: a.peers, Using: a.using, Remote: remote, USBIP: a.cfg.USBIP, Logger: a.log,
	}
	peers := backend.Peers{Store: a.store, Set: a.peers}
	self := localapi.Self{
		ID: a.store.Key().ID(), Name: a.cfg.Name, Version: a.cfg.Version, Since: time.Now(), Listen: a.addrs,
	}
	if a.cfg.TCPListen != "" {
		self.Notes = append(self.Notes,
			"links over plain TCP are accepted: they are authenticated but not encrypted")
	}
	server, err := localapi.NewServer(localapi.Config{Socket: a.cfg.Socket, Logger: a.log, Backend: localapi.Backend{
		Devices: backend.Devices{Store: a.store, Sharing: a.sharing},
		Peers:   peers,
		Pairing: backend.Pairing{
			Pairing: a.pairing, Rendezvous: a.rendezvous, Store: a.store, Peers: peers, Logger: a.log,
		},
		Uses: uses,
		Reports: backend.Reports{
			Self: self, Budget: a.cfg.Budget, Store: a.store, Set: a.peers, Uses: uses, Sharing: a.sharing,
			Rendezvous: a.rendezvous, NAT: a.network.DescribeNAT,
			Examine: diagnosis.Diagnosis{
				Rendezvous: a.rendezvous, ProbeNAT: a.network.ProbeNAT, DiskDelay: usbip.DiskDelay,
			}.Examine,
		},
	}})
	if err != nil {
		return err
	}
	a.parts = append(a.parts, server.Run)
	return nil
}
