package metrics

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns the answer to a scrape.
func scrape(t *testing.T, m *Metrics, read func(context.Context) Snapshot) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(read).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// nothing returns the state of an instance without parts.
func nothing(context.Context) Snapshot { return Snapshot{} }

// hasLines checks that a text contains lines.
func hasLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

func TestScrapeReadsSnapshot(t *testing.T) {
	now := Snapshot{
		Connected: 7, Registered: 20, Connections: 19, Pending: 2, Refused: 5, Draining: true,
		Certificates: time.Unix(1_800_000_000, 0),
		Lease:        Lease{Held: true, Epoch: 9, Instances: 3, Links: 2, Backlog: 1},
		Database: Database{
			Up: true, Ping: 2 * time.Millisecond, InUse: 4, Idle: 5, Max: 16, Waits: 6, Waited: 3 * time.Second,
		},
		Relay: Relay{
			Allocations: 11, Ports: 100, Streams: 3, Allocated: 50, Refused: 2, Unanswered: 8,
			In: Flow{21, 22}, Out: Flow{23, 24}, Dropped: Flow{25, 26}, Limited: Flow{27, 28},
		},
	}
	m := New("1.2.3")
	read := func(ctx context.Context) Snapshot {
		if _, limited := ctx.Deadline(); !limited {
			t.Error("the scrape has no deadline")
		}
		return now
	}
	hasLines(
		t,
		scrape(t, m, read),
		`easyfind_peers_connected 7`,
		`easyfind_peers_registered 20`,
		`easyfind_draining 1`,
		`easyfind_certificate_expiry_timestamp_seconds 1.8e+09`,
		`easyfind_connections{kind="http"} 7`,
		`easyfind_connections{kind="turn"} 3`,
		`easyfind_connections{kind="new"} 2`,
		`easyfind_connections_refused_total 5`,
		`easyfind_lease_held 1`,
		`easyfind_lease_epoch 9`,
		`easyfind_instances 3`,
		`easyfind_presence_backlog 1`,
		`easyfind_connections{kind="cluster"} 2`,
		`easyfind_database_up 1`,
		`easyfind_database_ping_seconds 0.002`,
		`easyfind_database_connections{state="in_use"} 4`,
		`easyfind_database_connections{state="idle"} 5`,
		`easyfind_database_connections_max 16`,
		`easyfind_database_waits_total 6`,
		`easyfind_database_wait_seconds_total 3`,
		`easyfind_relay_allocations 11`,
		`easyfind_relay_ports 100`,
		`easyfind_relay_allocations_total 50`,
		`easyfind_relay_refused_total 2`,
		`easyfind_relay_unanswered_total 8`,
		`easyfind_relay_packets_total{direction="in"} 21`,
		`easyfind_relay_bytes_total{direction="in"} 22`,
		`easyfind_relay_packets_total{direction="out"} 23`,
		`easyfind_relay_bytes_total{direction="dropped"} 26`,
		`easyfind_relay_packets_total{direction="limited"} 27`,
	)
	now = Snapshot{}
	hasLines(t, scrape(t, m, read), `easyfind_peers_connected 0`, `easyfind_lease_held 0`, `easyfind_database_up 0`,
		`easyfind_certificate_expiry_timestamp_seconds 0`)
}

func TestEventsAreCounted(t *testing.T) {
	m := New("1.2.3")
	m.Requests(1)
	m.Request(http.MethodGet, "/v1/server", http.StatusOK, 3*time.Millisecond)
	m.Request("GET-lost", "", http.StatusNotFound, time.Millisecond)
	m.Message(Local, "", 2*time.Millisecond)
	m.Message(Remote, "offline", time.Second)
	m.Done("register", "new")
	m.Refused("pair", "burned")
	text := scrape(t, m, nothing)
	hasLines(
		t,
		text,
		`easyfind_http_requests_in_flight 1`,
		`easyfind_http_requests_total{code="200",method="GET",route="/v1/server"} 1`,
		`easyfind_http_requests_total{code="404",method="other",route="other"} 1`,
		`easyfind_http_request_seconds_bucket{route="/v1/server",le="0.005"} 1`,
		`easyfind_signal_messages_total{path="local",result="delivered"} 1`,
		`easyfind_signal_messages_total{path="remote",result="offline"} 1`,
		`easyfind_signal_delivery_seconds_count{path="local"} 1`,
		`easyfind_signal_delivery_seconds_count{path="remote"} 0`,
		`easyfind_outcomes_total{request="register",result="new"} 1`,
		`easyfind_refusals_total{reason="burned",request="pair"} 1`,
	)
	for _, name := range []string{
		`easyfind_build_info{go="go`, "\ngo_goroutines ", "\nprocess_resident_memory_bytes ",
	} {
		if !strings.Contains(text, name) {
			t.Errorf("no %q", name)
		}
	}
}

// TestLabelsAreBounded: a client that invents methods adds no series.
func TestLabelsAreBounded(t *testing.T) {
	m := New("1.2.3")
	m.Request("A", "", http.StatusNotFound, 0)
	before := strings.Count(scrape(t, m, nothing), "\n")
	for i := range 100 {
		m.Request(fmt.Sprintf("M%d", i), "", http.StatusNotFound, 0)
	}
	if after := strings.Count(scrape(t, m, nothing), "\n"); after != before {
		t.Errorf("the number of lines rose from %d to %d", before, after)
	}
}
