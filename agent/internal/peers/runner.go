package peers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/peer"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Config holds the settings of a [Runner]. Every field but Budget is required.
type Config struct {
	Set     *Set         // of the peers that run
	Store   *state.Store // of the paired peers
	Network *peer.Network
	Budget  time.Duration // see session.Config
	// Host returns what a peer may do with the devices of this machine.
	Host func(ident.PeerID) session.Host
	// LinkChanged receives the active link to a peer whenever it may have changed,
	// and false if no link is up. It must not block.
	LinkChanged func(id ident.PeerID, active session.LinkStatus, up bool)
	// DevicesChanged is called when a peer has sent its list of devices. It must
	// not block.
	DevicesChanged func(ident.PeerID)
	Logger         *slog.Logger
}

// Runner runs the paired peers.
type Runner struct {
	cfg     Config
	cancels map[ident.PeerID]context.CancelFunc // owned by Run
	running sync.WaitGroup
}

// NewRunner creates a runner. Run starts it.
func NewRunner(cfg Config) (*Runner, error) {
	if cfg.Set == nil || cfg.Store == nil || cfg.Network == nil || cfg.Host == nil ||
		cfg.LinkChanged == nil || cfg.DevicesChanged == nil || cfg.Logger == nil {
		return nil, errors.New("peers: a required field of the configuration is missing")
	}
	return &Runner{cfg: cfg, cancels: map[ident.PeerID]context.CancelFunc{}}, nil
}

// Run runs the peers that the store lists until ctx ends.
func (r *Runner) Run(ctx context.Context) error {
	changed, stop := r.cfg.Store.Watch(state.PartPeers)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer r.running.Wait()
	defer cancel()
	for {
		r.reconcile(ctx, r.cfg.Store.State().Peers)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcile starts the peers that are new and stops those that were forgotten.
func (r *Runner) reconcile(ctx context.Context, paired []state.Peer) {
	isPaired := map[ident.PeerID]bool{}
	for _, p := range paired {
		isPaired[p.ID] = true
		if r.cancels[p.ID] == nil {
			r.start(ctx, p)
		}
		if running := r.cfg.Set.Get(p.ID); running != nil {
			running.Session().SetLimit(p.Limit)
		}
	}
	for id, cancel := range r.cancels {
		if !isPaired[id] {
			r.cfg.Set.remove(id)
			cancel()
			delete(r.cancels, id)
		}
	}
}

func (r *Runner) start(ctx context.Context, paired state.Peer) {
	id := paired.ID
	log := r.cfg.Logger.With("name", paired.Name)
	p, err := peer.New(peer.Config{
		Peer: id, Network: r.cfg.Network, Budget: r.cfg.Budget, Host: r.cfg.Host(id), Logger: r.cfg.Logger,
		Addresses: func() []string {
			known, _ := r.cfg.Store.Peer(id)
			return known.Addresses
		},
		LinkChanged:    func(l session.LinkStatus, up bool) { r.cfg.LinkChanged(id, l, up) },
		DevicesChanged: func() { r.cfg.DevicesChanged(id) },
	})
	if err != nil {
		log.Error("cannot start a peer", "err", err)
		return
	}
	ctx, r.cancels[id] = context.WithCancel(ctx)
	r.cfg.Set.add(id, p)
	r.running.Go(func() {
		if err := p.Run(ctx); err != nil {
			log.Error("peer failed", "err", err)
		}
		if current := r.cfg.Set.Get(id); current == nil || current == p { // not paired again meanwhile
			r.cfg.LinkChanged(id, session.LinkStatus{}, false)
		}
	})
}
