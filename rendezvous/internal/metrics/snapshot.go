package metrics

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Snapshot is the state of an instance's parts at one moment.
type Snapshot struct {
	Connected    int    // peers with a signalling connection to this instance
	Registered   int    // registered peers at all instances, at the last count
	Connections  int    // TCP connections of every kind
	Pending      int    // connections whose protocol is not known yet
	Refused      uint64 // connections refused because their source had too many
	Draining     bool
	Certificates time.Time // the earliest expiry of a certificate; zero if unknown

	Lease    Lease
	Database Database
	Relay    Relay
}

// Lease is the state of the instance's lease and of its links to other instances.
type Lease struct {
	Held      bool
	Epoch     int64
	Instances int // instances that hold a lease, including this one
	Links     int // connections to and from other instances
	Backlog   int // changes of presence that are not stored yet
}

// Database is the state of the database.
type Database struct {
	Up   bool
	Ping time.Duration // the time of a query that shows that the database takes writes

	InUse, Idle, Max int           // connections
	Waits            int64         // how often a request waited for a connection, since the start
	Waited           time.Duration // the total time of these waits
}

// Relay holds the current state of the relay and its counts since the start.
type Relay struct {
	Allocations int    // current
	Ports       int    // available for allocations
	Streams     int    // current TCP and TLS clients
	Allocated   uint64 // allocations since the start
	Refused     uint64 // refused allocations since the start
	Unanswered  uint64 // STUN requests that were not answered, since the start
	In, Out     Flow   // from clients, to clients
	Dropped     Flow   // without a permission
	Limited     Flow   // above a rate limit
}

// Flow is a number of packets and of their bytes.
type Flow struct{ Packets, Bytes uint64 }

// metric is a metric that is read from a snapshot.
type metric struct {
	desc   *prometheus.Desc
	values prometheus.ValueType
	read   func(Snapshot) map[string]float64 // by label value; "" if the metric has no label
}

// one returns a metric without a label.
func one(name, help string, t prometheus.ValueType, read func(Snapshot) float64) metric {
	return metric{prometheus.NewDesc(namespace+"_"+name, help, nil, nil), t, func(s Snapshot) map[string]float64 {
		return map[string]float64{"": read(s)}
	}}
}

// many returns a metric with a label.
func many(name, help, label string, t prometheus.ValueType, read func(Snapshot) map[string]float64) metric {
	return metric{prometheus.NewDesc(namespace+"_"+name, help, []string{label}, nil), t, read}
}

// boolean returns 1 for true and 0 for false.
func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

const (
	gauge = prometheus.GaugeValue
	count = prometheus.CounterValue
)

// value returns the function that reads a metric without a label.
func value[T int | int64 | uint64](read func(Snapshot) T) func(Snapshot) float64 {
	return func(s Snapshot) float64 { return float64(read(s)) }
}

// snapshotMetrics lists the metrics that are read from a snapshot.
var snapshotMetrics = slices.Concat(instanceMetrics, leaseMetrics, databaseMetrics, relayMetrics)

var instanceMetrics = []metric{
	one("peers_connected", "Peers with a signalling connection to this instance.",
		gauge, value(func(s Snapshot) int { return s.Connected })),
	one("peers_registered", "Registered peers of all instances together.",
		gauge, value(func(s Snapshot) int { return s.Registered })),
	many("connections", "TCP connections: signalling, TURN over TCP and TLS, HTTP, new ones whose protocol is not "+
		"known yet, and links to other instances.", "kind", gauge, func(s Snapshot) map[string]float64 {
		return map[string]float64{
			"signalling": float64(s.Connected),
			"turn":       float64(s.Relay.Streams),
			"new":        float64(s.Pending),
			"cluster":    float64(s.Lease.Links),
			"http":       float64(max(0, s.Connections-s.Connected-s.Relay.Streams-s.Pending)),
		}
	}),
	one("connections_refused_total", "Connections refused because their source had too many.",
		count, value(func(s Snapshot) uint64 { return s.Refused })),
	one("draining", "1 while the instance disconnects its peers in order to stop.",
		gauge, func(s Snapshot) float64 { return boolean(s.Draining) }),
	one("certificate_expiry_timestamp_seconds", "Expiry of the HTTPS certificate in seconds since 1970, or 0.",
		gauge, func(s Snapshot) float64 {
			if s.Certificates.IsZero() {
				return 0
			}
			return float64(s.Certificates.Unix())
		}),
}

var leaseMetrics = []metric{
	one("lease_held", "1 while the instance holds its lease. Other instances find its peers only while it does.",
		gauge, func(s Snapshot) float64 { return boolean(s.Lease.Held) }),
	one("lease_epoch", "Epoch of the lease. It changes when the instance loses the lease and takes a new one.",
		gauge, value(func(s Snapshot) int64 { return s.Lease.Epoch })),
	one("instances", "Instances that hold a lease, as far as this instance knows.",
		gauge, value(func(s Snapshot) int { return s.Lease.Instances })),
	one("presence_backlog", "Connections and disconnections of peers that are not stored in the database yet.",
		gauge, value(func(s Snapshot) int { return s.Lease.Backlog })),
}

var databaseMetrics = []metric{
	one("database_up", "1 while the database takes writes.",
		gauge, func(s Snapshot) float64 { return boolean(s.Database.Up) }),
	one("database_ping_seconds", "Duration of the query that shows whether the database takes writes, at this scrape.",
		gauge, func(s Snapshot) float64 { return s.Database.Ping.Seconds() }),
	many("database_connections", "Connections to the database.", "state", gauge, func(s Snapshot) map[string]float64 {
		return map[string]float64{"in_use": float64(s.Database.InUse), "idle": float64(s.Database.Idle)}
	}),
	one("database_connections_max", "Largest number of connections to the database.",
		gauge, value(func(s Snapshot) int { return s.Database.Max })),
	one("database_waits_total", "How often a request waited for a connection to the database.",
		count, value(func(s Snapshot) int64 { return s.Database.Waits })),
	one("database_wait_seconds_total", "Total time that requests waited for a connection to the database.",
		count, func(s Snapshot) float64 { return s.Database.Waited.Seconds() }),
}

var relayMetrics = []metric{
	one("relay_allocations", "Relayed addresses in use.",
		gauge, value(func(s Snapshot) int { return s.Relay.Allocations })),
	one("relay_ports", "Ports available for relayed addresses.",
		gauge, value(func(s Snapshot) int { return s.Relay.Ports })),
	one("relay_allocations_total", "Relayed addresses allocated since the start.",
		count, value(func(s Snapshot) uint64 { return s.Relay.Allocated })),
	one("relay_refused_total", "Allocations refused because of a quota or because no port was free.",
		count, value(func(s Snapshot) uint64 { return s.Relay.Refused })),
	one("relay_unanswered_total", "STUN requests that were not answered because their source sent too many.",
		count, value(func(s Snapshot) uint64 { return s.Relay.Unanswered })),
	many("relay_packets_total", "Packets: relayed from and to TURN clients, dropped without a permission, and dropped "+
		"above a rate limit.", "direction", count, byDirection(func(f Flow) uint64 { return f.Packets })),
	many("relay_bytes_total", "Bytes of these packets, without headers.",
		"direction", count, byDirection(func(f Flow) uint64 { return f.Bytes })),
}

// byDirection reads one figure of each flow of the relay.
func byDirection(read func(Flow) uint64) func(Snapshot) map[string]float64 {
	return func(s Snapshot) map[string]float64 {
		return map[string]float64{
			"in": float64(read(s.Relay.In)), "out": float64(read(s.Relay.Out)),
			"dropped": float64(read(s.Relay.Dropped)), "limited": float64(read(s.Relay.Limited)),
		}
	}
}

// snapshots is the Prometheus collector of the metrics above.
type snapshots struct {
	read func(context.Context) Snapshot
}

// Describe sends the descriptions of the metrics.
func (snapshots) Describe(out chan<- *prometheus.Desc) {
	for _, k := range snapshotMetrics {
		out <- k.desc
	}
}

// Collect reads a snapshot and sends its figures.
func (s snapshots) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	now := s.read(ctx)
	for _, k := range snapshotMetrics {
		for label, value := range k.read(now) {
			var labels []string
			if label != "" {
				labels = []string{label}
			}
			out <- prometheus.MustNewConstMetric(k.desc, k.values, value, labels...)
		}
	}
}
