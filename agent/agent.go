// Package agent is the program that shares the USB devices of a machine and uses
// those of other machines. The package only connects the parts of the agent; each
// part is a package below internal.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/easyfind-usb/easyfind/agent/internal/buses"
	"github.com/easyfind-usb/easyfind/agent/internal/lifecycle"
	"github.com/easyfind-usb/easyfind/agent/internal/network"
	"github.com/easyfind-usb/easyfind/agent/internal/pairing"
	"github.com/easyfind-usb/easyfind/agent/internal/peers"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/rvsync"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/agent/internal/using"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Agent is an agent that is ready to run.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	closers []func() // for Close, in the order of opening
	parts   []lifecycle.Part
	addrs   []string // at which the agent listens, for people

	// Each part exists before the parts that use it.
	store      *state.Store
	peers      *peers.Set
	rendezvous *rvclient.Client // nil: none
	network    *network.Network
	pairing    *pairing.Pairing // nil: no rendezvous
	sharing    *sharing.Manager
	using      *using.Manager
}

// New creates an agent. It opens the state directory and the sockets, so that it
// fails if another agent uses them. It starts nothing. The caller calls Run or Close
// afterwards.
func New(cfg Config) (*Agent, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, log: cfg.Logger, peers: peers.NewSet()}
	for _, build := range []func() error{
		a.openState, a.connect, a.addDevices, a.addPeers, a.addUSBIP, a.addLocalAPI,
	} {
		if err := build(); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

// Close closes everything that New has opened. Run does the same when it ends.
func (a *Agent) Close() {
	for len(a.closers) > 0 {
		last := len(a.closers) - 1
		a.closers[last]()
		a.closers = a.closers[:last]
	}
}

// Run runs the agent until ctx ends or one of its parts fails. The parts stop in the
// reverse order of their start: devices are given back while the sessions still
// exist, and sessions say goodbye while their links are still up.
func (a *Agent) Run(ctx context.Context) error {
	defer a.Close()
	a.log.Info("agent starts", "name", a.cfg.Name, "peer", a.store.Key().ID().Short(), "addr", a.addrs)
	return lifecycle.Run(ctx, a.parts...)
}

func (a *Agent) openState() error {
	store, err := state.Open(a.cfg.State)
	if err != nil {
		return err
	}
	a.store = store
	a.closers = append(a.closers, func() { store.Close() })
	return nil
}

// connect adds the rendezvous and the network.
func (a *Agent) connect() error {
	probeNAT, updateList := newEvent(), newEvent()
	cfg := network.Config{
		Key: a.store.Key(), Listen: a.cfg.Listen, TLSListen: a.cfg.TLSListen, TCPListen: a.cfg.TCPListen,
		Trust: a.trust, Accept: a.peers.Accept, Connected: probeNAT, JoinLink: a.cfg.Rendezvous, Logger: a.log,
	}
	if a.cfg.Rendezvous != "" {
		var err error
		a.rendezvous, err = rvclient.New(rvclient.Config{
			URL: a.cfg.Rendezvous, Key: a.store.Key(), Name: a.cfg.Name, Logger: a.log,
			NoLinkReports: a.cfg.NoPathReports,
			OnMessage:     a.peers.Deliver,
			OnState: func(s rvclient.State) {
				if s.Connected {
					probeNAT.fire()
					updateList.fire()
					a.peers.Retry()
				}
			},
		})
		if err != nil {
			return err
		}
		cfg.Rendezvous = a.rendezvous
		list, err := rvsync.NewAllowList(rvsync.AllowListConfig{
			Rendezvous: a.rendezvous, Store: a.store, Connected: updateList, Logger: a.log,
		})
		if err != nil {
			return err
		}
		a.parts = append(a.parts, a.rendezvous.Run, list.Run)
	}
	var err error
	if a.network, err = network.New(cfg); err != nil {
		return err
	}
	a.closers = append(a.closers, a.network.Close)
	a.parts = append(a.parts, a.network.Run)
	a.addrs = append(a.addrs, a.network.Addrs()...)
	if a.rendezvous == nil {
		return nil
	}
	mailboxes := a.rendezvous.Mailboxes()
	a.pairing, err = pairing.New(pairing.Config{
		Key: a.store.Key(), Name: a.cfg.Name, Addresses: a.network.Direct,
		HostMailbox: mailboxes, ClientMailbox: mailboxes, Logger: a.log,
	})
	return err
}

// event wakes one part of the agent.
type event chan struct{}

func newEvent() event { return make(event, 1) }

// fire wakes the part. It does not block.
func (e event) fire() {
	select {
	case e <- struct{}{}:
	default: // the part is about to wake
	}
}

// trust returns an error if a peer must not connect.
func (a *Agent) trust(id ident.PeerID) error {
	if _, paired := a.store.Peer(id); !paired {
		return errors.New("it is not paired with this machine")
	}
	return nil
}

// addDevices adds the devices of this machine, and the remote devices that it uses.
func (a *Agent) addDevices() error {
	all, closeFiles, err := buses.Open(buses.Config{
		Backend: a.cfg.Backend, Virtual: a.cfg.Virtual, Disk: a.cfg.Disk, Logger: a.log,
	})
	a.closers = append(a.closers, closeFiles)
	if err != nil {
		return err
	}
	a.sharing, err = sharing.New(sharing.Config{
		Bus: all, Store: a.store, Holders: a.peers, Logger: a.log, Changed: a.peers.SendDevices,
	})
	if err != nil {
		return err
	}
	a.using, err = using.New(using.Config{
		Store: a.store, Logger: a.log, NotAccelerated: a.cfg.NoAccel, WriteCached: a.cfg.WriteCache,
		Want:   func(id ident.PeerID) (using.Session, func(), error) { return a.peers.Want(id) },
		Kernel: usbip.NewVHCI(usbip.VHCIConfig{ExtraTimeout: a.cfg.Budget, Logger: a.log}),
	})
	return err
}

// addPeers adds the paired peers. It also adds the parts that use their sessions, so
// that these stop first.
func (a *Agent) addPeers() error {
	reports := rvsync.NewLinkReports(func(map[ident.PeerID]rvclient.LinkReport) {})
	if a.rendezvous != nil && !a.cfg.NoPathReports {
		reports = rvsync.NewLinkReports(a.rendezvous.ReportLinks)
	}
	runner, err := peers.NewRunner(peers.Config{
		Set: a.peers, Store: a.store, Network: a.network.ForPeers(), Budget: a.cfg.Budget, Host: a.sharing.For,
		LinkChanged: reports.Update, DevicesChanged: a.using.PeerDevicesChanged, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.parts = append(a.parts, runner.Run, a.sharing.Run, a.using.Run)
	return nil
}

// addUSBIP adds the loopback server for the used devices.
func (a *Agent) addUSBIP() error {
	if a.cfg.USBIP == "" {
		return nil
	}
	ln, err := net.Listen("tcp", a.cfg.USBIP)
	if err != nil {
		return network.ListenError(err, "--usbip-listen", a.cfg.USBIP)
	}
	a.closers = append(a.closers, func() { ln.Close() })
	server, err := usbip.NewServer(usbip.ServerConfig{Listener: ln, Exporter: a.using, Logger: a.log})
	if err != nil {
		return err
	}
	a.parts = append(a.parts, server.Run)
	a.cfg.USBIP = ln.Addr().String() // with the port that the system chose
	a.addrs = append(a.addrs, "usbip "+a.cfg.USBIP)
	return nil
}
