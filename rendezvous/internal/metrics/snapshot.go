package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Snapshot is how the parts of an instance are at a moment.
type Snapshot struct {
	Connected    int    // peers with a signalling connection to this instance
	Registered   int    // peers in all, as counted last
	Connections  int    // over TCP, of every kind
	Waiting      int    // of them, those that have not said yet what they want
	Turned       uint64 // connections turned away, since their source had too many
	Draining     bool
	Certificates time.Time // when the first of them expires; zero if unknown

	Lease    Lease
	Database Database
	Relay    Relay
}

// Lease is the instance's place among the others.
type Lease struct {
	Held      bool
	Epoch     int64
	Instances int // with a lease, this one too
	Links     int // to and from others
	Backlog   int // changes of presence not written yet
}

// Database is how the database answers.
type Database struct {
	Up   bool
	Ping time.Duration // of a question that shows that it takes writes

	InUse, Idle, Max int           // connections
	Waits            int64         // for a connection, ever
	Waited           time.Duration // ever
}

// Relay is what the relay has done since the start, and has now.
type Relay struct {
	Allocations int // now
	Ports       int // for allocations
	Streams     int // TCP and TLS clients now
	Allocated   uint64
	Refused     uint64
	Unanswered  uint64
	In, Out     Flow // from clients, to clients
	Dropped     Flow
	Limited     Flow // beyond a rate
}

// Flow is packets and their bytes.
type Flow struct{ Packets, Bytes uint64 }

// kind is a metric that is read from a snapshot.
type kind struct {
	desc   *prometheus.Desc
	values prometheus.ValueType
	read   func(Snapshot) map[string]float64 // by label; "" without one
}

func one(name, help string, t prometheus.ValueType, read func(Snapshot) float64) kind {
	return kind{prometheus.NewDesc(namespace+"_"+name, help, nil, nil), t, func(s Snapshot) map[string]float64 {
		return map[string]float64{"": read(s)}
	}}
}

func many(name, help, label string, t prometheus.ValueType, read func(Snapshot) map[string]float64) kind {
	return kind{prometheus.NewDesc(namespace+"_"+name, help, []string{label}, nil), t, read}
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

const (
	gauge = prometheus.GaugeValue
	count = prometheus.CounterValue
)

// kinds is everything that is read from a snapshot.
var kinds = []kind{
	one("peers_connected", "Peers with a signalling connection to this instance.", gauge, func(s Snapshot) float64 { return float64(s.Connected) }),
	one("peers_registered", "Peers that are registered, at all instances together.", gauge, func(s Snapshot) float64 { return float64(s.Registered) }),
	many("connections", "TCP connections: of signalling, of TURN over TCP and TLS, of HTTP, of those that have not said yet what they want, and links to other instances.",
		"kind", gauge, func(s Snapshot) map[string]float64 {
			return map[string]float64{
				"signalling": float64(s.Connected), "turn": float64(s.Relay.Streams), "new": float64(s.Waiting), "cluster": float64(s.Lease.Links),
				"http": float64(max(0, s.Connections-s.Connected-s.Relay.Streams-s.Waiting)),
			}
		}),
	one("connections_refused_total", "Connections turned away, since their source had too many.", count, func(s Snapshot) float64 { return float64(s.Turned) }),
	one("draining", "1 while the instance sends its peers away to stop.", gauge, func(s Snapshot) float64 { return yes(s.Draining) }),
	one("certificate_expiry_timestamp_seconds", "When the certificate of the HTTPS port expires, in seconds since 1970; 0 if there is none.", gauge,
		func(s Snapshot) float64 {
			if s.Certificates.IsZero() {
				return 0
			}
			return float64(s.Certificates.Unix())
		}),

	one("lease_held", "1 while the instance holds its lease, without which other instances do not find its peers.", gauge, func(s Snapshot) float64 { return yes(s.Lease.Held) }),
	one("lease_epoch", "The lease's epoch: it changes where the lease was lost.", gauge, func(s Snapshot) float64 { return float64(s.Lease.Epoch) }),
	one("instances", "Instances that hold a lease, as this one knows.", gauge, func(s Snapshot) float64 { return float64(s.Lease.Instances) }),
	one("presence_backlog", "Peers whose coming or going the database has not been told yet.", gauge, func(s Snapshot) float64 { return float64(s.Lease.Backlog) }),

	one("database_up", "1 while the database takes writes.", gauge, func(s Snapshot) float64 { return yes(s.Database.Up) }),
	one("database_ping_seconds", "How long the database took to show so, at this scrape.", gauge, func(s Snapshot) float64 { return s.Database.Ping.Seconds() }),
	many("database_connections", "Connections to the database.", "state", gauge, func(s Snapshot) map[string]float64 {
		return map[string]float64{"in_use": float64(s.Database.InUse), "idle": float64(s.Database.Idle)}
	}),
	one("database_connections_max", "Connections to the database at most.", gauge, func(s Snapshot) float64 { return float64(s.Database.Max) }),
	one("database_waits_total", "Times that a connection to the database was waited for.", count, func(s Snapshot) float64 { return float64(s.Database.Waits) }),
	one("database_wait_seconds_total", "How long that took in all.", count, func(s Snapshot) float64 { return s.Database.Waited.Seconds() }),

	one("relay_allocations", "Relayed addresses in use.", gauge, func(s Snapshot) float64 { return float64(s.Relay.Allocations) }),
	one("relay_ports", "Ports for relayed addresses.", gauge, func(s Snapshot) float64 { return float64(s.Relay.Ports) }),
	one("relay_allocations_total", "Relayed addresses given out.", count, func(s Snapshot) float64 { return float64(s.Relay.Allocated) }),
	one("relay_refused_total", "Relayed addresses refused: a quota, or no port was free.", count, func(s Snapshot) float64 { return float64(s.Relay.Refused) }),
	one("relay_unanswered_total", "STUN answers withheld from strangers who asked too often.", count, func(s Snapshot) float64 { return float64(s.Relay.Unanswered) }),
	many("relay_packets_total", "Packets relayed, from and to TURN clients, dropped for want of a permission, and beyond a rate.", "direction", count, func(s Snapshot) map[string]float64 {
		return map[string]float64{"in": float64(s.Relay.In.Packets), "out": float64(s.Relay.Out.Packets), "dropped": float64(s.Relay.Dropped.Packets), "limited": float64(s.Relay.Limited.Packets)}
	}),
	many("relay_bytes_total", "Bytes of these packets, without headers.", "direction", count, func(s Snapshot) map[string]float64 {
		return map[string]float64{"in": float64(s.Relay.In.Bytes), "out": float64(s.Relay.Out.Bytes), "dropped": float64(s.Relay.Dropped.Bytes), "limited": float64(s.Relay.Limited.Bytes)}
	}),
}

// snapshots collects the metrics of one snapshot.
type snapshots struct {
	read func(context.Context) Snapshot
}

// Describe tells which metrics there are.
func (snapshots) Describe(out chan<- *prometheus.Desc) {
	for _, k := range kinds {
		out <- k.desc
	}
}

// Collect reads them.
func (s snapshots) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readWait)
	defer cancel()
	now := s.read(ctx)
	for _, k := range kinds {
		for label, value := range k.read(now) {
			var labels []string
			if label != "" {
				labels = []string{label}
			}
			out <- prometheus.MustNewConstMetric(k.desc, k.values, value, labels...)
		}
	}
}
