// Package metrics offers the figures of an instance to the operator's Prometheus. Some are
// read from a snapshot of the instance's parts at each scrape, the others count events since
// the start. Every label has a bounded set of values: no label contains a peer, an address or
// anything else of which there may be any number.
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

// other is the label value for everything that has no value of its own.
const other = "other"

// Bounds of one scrape.
const (
	readTimeout = 5 * time.Second // of the snapshot
	maxInFlight = 4               // scrapes at the same time
)

// Metrics counts events. Its methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec   // method, route, code
	latency   *prometheus.HistogramVec // route
	inFlight  prometheus.Gauge
	messages  *prometheus.CounterVec // path, result
	delivery  map[Target]prometheus.Observer
	outcomes  *prometheus.CounterVec // request, result
	refusals  *prometheus.CounterVec // request, reason
	delivered map[Target]prometheus.Counter
}

// Target names the instance of a signalling message's recipient. It is the label path.
type Target string

// The targets.
const (
	Local  Target = "local"  // to this instance
	Remote Target = "remote" // to another instance
)

// New returns metrics that start at zero. version is that of the server.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("http_requests_total", "Answered requests, by method, route and status.",
			"method", "route", "code"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "http_request_seconds",
			Help:    "Duration of requests, including those that wait for an event for up to 25 s.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "http_requests_in_flight", Help: "Requests that are being handled.",
		}),
		messages: counter("signal_messages_total",
			"Signalling messages, by the instance of the recipient, and by delivery or reason of failure.",
			"path", "result"),
		outcomes: counter("outcomes_total", "Successful registrations and pairings.", "request", "result"),
		refusals: counter("refusals_total", "Refused requests, by reason.", "request", "reason"),
		delivery: map[Target]prometheus.Observer{}, delivered: map[Target]prometheus.Counter{},
	}
	delivery := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "signal_delivery_seconds",
		Help:    "Time from the arrival of a message to its confirmation by the recipient.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"path"})
	for _, p := range []Target{Local, Remote} {
		m.delivery[p] = delivery.WithLabelValues(string(p))
		m.delivered[p] = m.messages.WithLabelValues(string(p), "delivered")
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info",
		Help:        "Always 1. The labels are the versions of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.requests, m.latency, m.inFlight, m.messages, delivery, m.outcomes, m.refusals, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// Handler returns the handler of scrapes. It answers in the text formats of Prometheus and
// OpenMetrics. read returns the current state of the instance's parts before its context
// ends.
func (m *Metrics) Handler(read func(ctx context.Context) Snapshot) http.Handler {
	state := prometheus.NewRegistry()
	state.MustRegister(snapshots{read})
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, state}, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxInFlight, Timeout: 2 * readTimeout,
	})
}

// methods are the HTTP methods that have a label value.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true,
	http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true,
}

// Request counts a request. route is the pattern that it matched, or "".
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

// Requests counts the requests in flight: 1 when a request begins, -1 when it ends.
func (m *Metrics) Requests(change int) { m.inFlight.Add(float64(change)) }

// Message counts a signalling message. failure is the reason why it was not delivered, or ""
// if the recipient has confirmed it; then took is the time until the confirmation.
func (m *Metrics) Message(to Target, failure string, took time.Duration) {
	if failure != "" {
		m.messages.WithLabelValues(string(to), failure).Inc()
		return
	}
	m.delivered[to].Inc()
	m.delivery[to].Observe(took.Seconds())
}

// Done counts a request that succeeded.
func (m *Metrics) Done(request, result string) { m.outcomes.WithLabelValues(request, result).Inc() }

// Refused counts a request that was refused. reason is one of a fixed set.
func (m *Metrics) Refused(request, reason string) {
	m.refusals.WithLabelValues(request, reason).Inc()
}
