package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/metrics"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
)

// failureLabels are what the metrics call the failures of signalling.
var failureLabels = map[signal.Failure]string{
	signal.FailureOffline: "offline", signal.FailureNotAllowed: "not_allowed", signal.FailureBusy: "busy", signal.FailureRate: "rate",
	signal.FailureUnconfirmed: "unconfirmed", signal.FailureUnavailable: "unavailable",
}

// message counts a signalling message.
func (p *parts) message(elsewhere bool, err error, took time.Duration) {
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

// snapshot is how all parts are now.
func (s *settings) snapshot(p *parts) func(context.Context) metrics.Snapshot {
	return func(ctx context.Context) metrics.Snapshot {
		door, lease, pool, used := p.front.Stats(), p.cluster.Stats(), p.database.Pool(), p.relay.Usage()
		began := time.Now()
		err := p.database.Ping(ctx)
		return metrics.Snapshot{
			Connected: p.hub.Count(), Registered: p.services.Counter.Registered(), Draining: p.https.draining.Load(),
			Connections: door.Connections, Pending: door.Pending, Refused: door.Refused,
			Certificates: p.certs.Status().Expires,
			Lease: metrics.Lease{
				Held: lease.Held, Epoch: lease.Epoch, Instances: lease.Instances, Links: lease.Links, Backlog: lease.Backlog,
			},
			Database: metrics.Database{
				Up: err == nil, Ping: time.Since(began), InUse: pool.InUse, Idle: pool.Idle, Max: pool.Max, Waits: pool.Waits, Waited: pool.Waited,
			},
			Relay: metrics.Relay{
				Allocations: used.Allocations, Ports: s.relayPorts(), Streams: used.Streams,
				Allocated: used.Allocated, Refused: used.Refused, Unanswered: used.Unanswered,
				In: flow(used.FromClients), Out: flow(used.ToClients), Dropped: flow(used.Dropped), Limited: flow(used.Limited),
			},
		}
	}
}

func flow(f relay.Flow) metrics.Flow { return metrics.Flow{Packets: f.Packets, Bytes: f.Bytes} }

// relayPorts is how many allocations there may be.
func (s *settings) relayPorts() int {
	if s.ports[1] == 0 {
		return 65535 - 49152 + 1
	}
	return int(s.ports[1]) - int(s.ports[0]) + 1
}

// serveMetrics answers scrapes until ctx ends.
func (s *settings) serveMetrics(p *parts) func(context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", p.metrics.Handler())
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(s.Logger.With("part", "metrics").Handler(), slog.LevelDebug),
	}
	return func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { server.Close() })
		defer stop()
		if err := server.Serve(p.scrapes); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics: %w", err)
		}
		return nil
	}
}

// listenMetrics takes the port of the metrics, if there shall be one.
func (s *settings) listenMetrics() (net.Listener, error) {
	if s.MetricsListen == "" {
		return nil, nil
	}
	if _, port, err := net.SplitHostPort(s.MetricsListen); err != nil || !numeric(port) {
		return nil, fmt.Errorf("--metrics-listen %q: want HOST:PORT, such as 127.0.0.1:9464", s.MetricsListen)
	}
	l, err := net.Listen("tcp", s.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("listen for Prometheus: %w: stop what uses the port, or choose another with --metrics-listen", err)
	}
	return l, nil
}

func numeric(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}
