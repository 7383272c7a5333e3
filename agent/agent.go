// Package agent is the program that runs on both ends: it shares the USB devices
// of its machine and uses those of others. This package puts its parts together;
// each part is a package of its own below internal.
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/quiclink"
	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/pairing"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/agent/internal/using"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Agent is an agent that is ready to run. It is the backend of its local
// interface.
type Agent struct {
	cfg   Config
	log   *slog.Logger
	began time.Time
	close []func() // in reverse order, by Close

	store        *state.Store
	network      *network
	peers        *peers
	sharing      *sharing.Sharing
	using        *using.Using
	rendezvous   *rvclient.Client // nil: none
	pairing      *pairing.Pairing // nil: none
	allowed      chan struct{}    // pokes followAllowed; nil without a rendezvous
	pathsChanged chan struct{}    // pokes followPaths; nil without
	parts        []func(context.Context) error
	listening    []string
}

// New puts an agent together. It opens what the agent needs for itself, the
// state directory and the ports, so that a second agent is refused here; nothing
// runs before Run. An agent that is never run must be closed.
func New(cfg Config) (*Agent, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, log: cfg.Logger, began: time.Now()}
	for _, build := range []func() error{a.buildState, a.buildRendezvous, a.buildNetwork, a.buildDevices, a.buildEdges} {
		if err := build(); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

// Close lets go of everything. Run does it too.
func (a *Agent) Close() {
	for len(a.close) > 0 {
		last := len(a.close) - 1
		a.close[last]()
		a.close = a.close[:last]
	}
}

// Run runs the agent until ctx ends or a part of it fails. Parts end in the
// reverse order of their beginning, one after the other: devices are given back
// over sessions, and sessions say goodbye over links, while these still are.
func (a *Agent) Run(ctx context.Context) error {
	defer a.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var ends []func()
	for _, part := range a.parts {
		partCtx, end := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := part(partCtx); err != nil {
				cancel(err)
			}
		}()
		ends = append(ends, func() { end(); <-ended })
	}
	a.log.Info("agent runs", "name", a.cfg.Name, "id", a.store.Key().ID().String(), "listens", a.listening)
	<-ctx.Done()
	for _, end := range slices.Backward(ends) {
		end()
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// part adds something to be run; cleanup undoes what New has opened for it.
func (a *Agent) part(run func(context.Context) error, cleanup func()) {
	a.parts = append(a.parts, run)
	if cleanup != nil {
		a.close = append(a.close, cleanup)
	}
}

func (a *Agent) buildState() error {
	store, err := state.Open(a.cfg.State)
	if err != nil {
		return err
	}
	a.store = store
	a.part(a.followState, func() { store.Close() })
	return nil
}

// followState carries changes of the state to the parts that live by it.
func (a *Agent) followState(ctx context.Context) error {
	changed, stop := a.store.Watch()
	defer stop()
	for {
		a.peers.reconcile(a.store.State().Peers)
		a.sharing.Enforce()
		a.peers.devicesChanged()
		a.using.Poke()
		a.pokeAllowed()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *Agent) buildRendezvous() error {
	if a.cfg.Rendezvous == "" {
		return nil
	}
	client, err := rvclient.New(rvclient.Config{
		URL: a.cfg.Rendezvous, Key: a.store.Key(), Name: a.cfg.Name, Logger: a.log, NoPaths: a.cfg.NoPathReports,
		OnMessage: func(from ident.PeerID, body []byte) { a.peers.message(from, body) },
		OnState: func(s rvclient.State) {
			if s.Connected {
				a.network.reachable()
				a.peers.retry()
				a.pokeAllowed()
			}
		},
	})
	if err != nil {
		return err
	}
	a.rendezvous = client
	a.part(client.Run, nil)
	a.allowed = make(chan struct{}, 1)
	a.part(a.followAllowed, nil)
	a.pairing, err = pairing.New(pairing.Config{
		Key: a.store.Key(), Name: a.cfg.Name, Addresses: func() []string { return a.network.direct() }, Mailbox: client, Logger: a.log,
	})
	return err
}

// trusts says whether a peer may connect.
func (a *Agent) trusts(id ident.PeerID) error {
	s := a.store.State()
	if _, ok := s.Peer(id); !ok {
		return errors.New("it is not paired with this machine")
	}
	return nil
}

func (a *Agent) buildNetwork() error {
	accept := func(l link.Link) { a.peers.accept(l) }
	quic, err := quiclink.NewEndpoint(quiclink.Config{Key: a.store.Key(), Listen: a.cfg.Listen, Trust: a.trusts, Accept: accept, Logger: a.log})
	if err != nil {
		return busy(err, "--listen", a.cfg.Listen)
	}
	a.part(quic.Run, func() { quic.Close() })
	a.listens("udp", quic.LocalAddr())
	relayTLS, err := a.relayTLS()
	if err != nil {
		return err
	}
	paths, err := path.New(path.Config{Conn: quic.NonQUIC(), Logger: a.log, AllowLoopback: onLoopback(quic.LocalAddr()), TLS: relayTLS})
	if err != nil {
		return err
	}
	a.part(paths.Run, nil)
	a.network = &network{agent: a, quic: quic, paths: paths, probe: make(chan struct{}, 1)}
	a.part(a.network.run, nil)
	for _, way := range []struct {
		mode       tcplink.Mode
		flag, addr string
	}{{tcplink.TLS, "--tls-listen", a.cfg.TLSListen}, {tcplink.Plain, "--tcp-listen", a.cfg.TCPListen}} {
		if way.addr == "" {
			continue
		}
		ln, err := tcplink.NewListener(tcplink.Config{Key: a.store.Key(), Mode: way.mode, Listen: way.addr, Trust: a.trusts, Accept: accept, Logger: a.log})
		if err != nil {
			return busy(err, way.flag, way.addr)
		}
		a.part(ln.Run, func() { ln.Close() })
		a.listens(way.mode.String(), ln.Addr())
		if way.mode == tcplink.TLS {
			a.network.tlsAddr = ln.Addr()
		} else {
			a.log.Warn("links to this address are authenticated but NOT encrypted", "address", ln.Addr().String())
		}
	}
	return nil
}

// relayTLS is how relays of the rendezvous are recognised over TLS: by the pin of
// the join link, or, without one, as the web does it. ALPN tells them from HTTPS
// on the same port (RFC 7443).
func (a *Agent) relayTLS() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if a.cfg.Rendezvous != "" {
		join, err := api.ParseJoinLink(a.cfg.Rendezvous)
		if err != nil {
			return nil, err
		}
		if join.Pin != nil {
			c = ident.PinnedTLS(*join.Pin)
		}
	}
	c.NextProtos = []string{"stun.turn"}
	return c, nil
}

func (a *Agent) buildDevices() error {
	buses, cleanup, err := openBuses(a.cfg)
	a.close = append(a.close, cleanup)
	if err != nil {
		return err
	}
	a.peers = &peers{agent: a, all: map[ident.PeerID]*running{}}
	a.part(a.peers.run, nil)
	if a.sharing, err = sharing.New(sharing.Config{
		Bus: buses, Shares: func() []state.Share { return a.store.State().Shares }, Peers: a.peers, Logger: a.log, Changed: a.peers.devicesChanged,
	}); err != nil {
		return err
	}
	a.part(a.sharing.Run, nil)
	a.using, err = using.New(using.Config{
		Uses: func() []state.Use { return a.store.State().Uses }, Want: a.peers.want, Logger: a.log, Changed: func() {},
		Kernel: usbip.NewVHCI(usbip.VHCIConfig{ExtraTimeout: a.cfg.Budget, Logger: a.log}),
	})
	a.part(a.using.Run, nil)
	if a.rendezvous != nil && !a.cfg.NoPathReports {
		a.pathsChanged = make(chan struct{}, 1)
		a.part(a.followPaths, nil)
	}
	return err
}

func (a *Agent) buildEdges() error {
	api, err := localapi.NewServer(localapi.Config{Socket: a.cfg.Socket, Backend: a, Logger: a.log})
	if err != nil {
		return err
	}
	a.part(api.Run, nil)
	if a.cfg.USBIP == "" {
		return nil
	}
	ln, err := net.Listen("tcp", a.cfg.USBIP)
	if err != nil {
		return busy(err, "--usbip-listen", a.cfg.USBIP)
	}
	server, err := usbip.NewServer(usbip.ServerConfig{Listener: ln, Exporter: a.using, Logger: a.log})
	if err != nil {
		ln.Close()
		return err
	}
	a.part(server.Run, func() { ln.Close() })
	a.cfg.USBIP = ln.Addr().String() // with the port that the system chose for 0
	a.listens("usbip", ln.Addr())
	return nil
}

func (a *Agent) listens(what string, addr net.Addr) {
	a.listening = append(a.listening, what+" "+addr.String())
}

// busy says which flag to change when a port cannot be had.
func busy(err error, flag, addr string) error {
	return fmt.Errorf("cannot listen on %s (%w): another program may use the port; choose another with %s", addr, err, flag)
}

// onLoopback reports whether an address reaches this machine only, where peers
// on this machine are the only ones that can be meant.
func onLoopback(addr net.Addr) bool {
	udp, ok := addr.(*net.UDPAddr)
	return ok && udp.IP.IsLoopback()
}
