// Package metrics is what an operator's Prometheus reads: a snapshot of the
// parts of an instance at the moment it asks, and counts of what happened
// since the start. No label names a peer, an address or anything else of which
// there may be any number; every set of labels is bounded.
package metrics

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "easyfind"

// other is the label of what is in no table.
const other = "other"

// Bounds of one scrape.
const (
	readWait    = 5 * time.Second
	maxInFlight = 4
)

// Config is what the metrics need.
type Config struct {
	Version string
	// Read tells how the parts are now, within the time of the context.
	Read func(ctx context.Context) Snapshot
}

// Metrics counts what happens. Its methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec   // method, route, code
	latency   *prometheus.HistogramVec // route
	inFlight  prometheus.Gauge
	messages  *prometheus.CounterVec // path, result
	delivery  map[Path]prometheus.Observer
	outcomes  *prometheus.CounterVec // request, result
	refusals  *prometheus.CounterVec // request, reason
	delivered map[Path]prometheus.Counter
}

// Path is which way a signalling message went.
type Path string

// The paths.
const (
	Here      Path = "local"  // between two peers of this instance
	Elsewhere Path = "remote" // to a peer of another instance
)

// New makes metrics that start at zero.
func New(c Config) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("http_requests_total", "Requests answered, by method, route and status.", "method", "route", "code"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "http_request_seconds", Help: "How long requests took, those included that wait for an event, up to 25 s.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "http_requests_in_flight", Help: "Requests that are being answered.",
		}),
		messages: counter("signal_messages_total", "Signalling messages, by how they went and the reason where they failed.", "path", "result"),
		outcomes: counter("outcomes_total", "What was asked for and done: register, pair.", "request", "result"),
		refusals: counter("refusals_total", "What was asked for and refused, by the reason.", "request", "reason"),
		delivery: map[Path]prometheus.Observer{}, delivered: map[Path]prometheus.Counter{},
	}
	delivery := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "signal_delivery_seconds", Help: "From a message's arrival to its confirmation by the peer that it is for.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"path"})
	for _, p := range []Path{Here, Elsewhere} {
		m.delivery[p] = delivery.WithLabelValues(string(p))
		m.delivered[p] = m.messages.WithLabelValues(string(p), "delivered")
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": c.Version, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.requests, m.latency, m.inFlight, m.messages, delivery, m.outcomes, m.refusals, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		snapshots{c.Read},
	)
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// Handler answers scrapes, in the text formats of Prometheus and OpenMetrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxInFlight, Timeout: 2 * readWait,
	})
}

// methods are those that have a label.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true,
}

// Request counts a request. route is the pattern that it matched, "" without
// one.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if !methods[method] {
		method = other
	}
	if route == "" {
		route = other
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.latency.WithLabelValues(route).Observe(took.Seconds())
}

// Requests counts the requests in flight: 1 as one begins, -1 as it ends.
func (m *Metrics) Requests(change int) { m.inFlight.Add(float64(change)) }

// Message counts a signalling message that took so long until it was confirmed;
// failure is why it was not, "" if it was.
func (m *Metrics) Message(path Path, failure string, took time.Duration) {
	if failure != "" {
		m.messages.WithLabelValues(string(path), failure).Inc()
		return
	}
	m.delivered[path].Inc()
	m.delivery[path].Observe(took.Seconds())
}

// Done counts what was asked for and done.
func (m *Metrics) Done(request, result string) { m.outcomes.WithLabelValues(request, result).Inc() }

// Refused counts what was refused, with a reason of a closed set.
func (m *Metrics) Refused(request, reason string) {
	m.refusals.WithLabelValues(request, reason).Inc()
}
