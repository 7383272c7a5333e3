package server

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/metrics"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
)

// failureLabels are the label values of failed signalling messages.
var failureLabels = map[signal.Failure]string{
	signal.FailureOffline: "offline", signal.FailureNotAllowed: "not_allowed", signal.FailureBusy: "busy",
	signal.FailureRate: "rate", signal.FailureUnconfirmed: "unconfirmed", signal.FailureUnavailable: "unavailable",
}

// countMessage counts a signalling message.
func (p *parts) countMessage(elsewhere bool, err error, took time.Duration) {
	path := metrics.Local
	if elsewhere {
		path = metrics.Remote
	}
	label := ""
	var failure signal.Failure
	if errors.As(err, &failure) {
		label = failureLabels[failure]
	}
	p.metrics.Message(path, label, took)
}

// snapshot returns the current state of all parts.
func (p *parts) snapshot(ctx context.Context) metrics.Snapshot {
	conns, lease, pool, used := p.listener.Stats(), p.cluster.Stats(), p.database.Pool(), p.relay.Usage()
	began := time.Now()
	err := p.database.Ping(ctx)
	return metrics.Snapshot{
		Connected: p.hub.Count(), Registered: p.services.Counter.Registered(), Draining: p.draining.Active(),
		Connections: conns.Connections, Pending: conns.Pending, Refused: conns.Refused,
		Certificates: p.certs.Status().Expires,
		Lease: metrics.Lease{
			Held: lease.Held, Epoch: lease.Epoch, Instances: lease.Instances, Links: lease.Links,
			Backlog: lease.Backlog,
		},
		Database: metrics.Database{
			Up: err == nil, Ping: time.Since(began), InUse: pool.InUse, Idle: pool.Idle, Max: pool.Max,
			Waits: pool.Waits, Waited: pool.Waited,
		},
		Relay: metrics.Relay{
			Allocations: used.Allocations, Ports: p.settings.RelayPortCount(), Streams: used.Streams,
			Allocated: used.Allocated, Refused: used.Refused, Unanswered: used.Unanswered,
			In: flow(used.FromClients), Out: flow(used.ToClients),
			Dropped: flow(used.Dropped), Limited: flow(used.Limited),
		},
	}
}

func flow(f relay.Flow) metrics.Flow { return metrics.Flow{Packets: f.Packets, Bytes: f.Bytes} }
