package rendezvous

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// scrape returns the metrics of an instance.
func scrape(t *testing.T, address string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waittest.Timeout}
	res, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", res.Status, err, text)
	}
	return string(text)
}

// TestMetricsCountEvents checks the metrics after some events of two peers: their values,
// that every name in the dashboard and the alerts exists, and that no label names a peer.
func TestMetricsCountEvents(t *testing.T) {
	c := local(t)
	c.MetricsListen = "127.0.0.1:0"
	i := start(t, c)
	a, b := newPeer(t, i.link, 1).connect(), newPeer(t, i.link, 2).connect()
	b.allow(a)
	signals(t, a, b, "hello")
	a.write(signal.Send{ID: 7, To: [32]byte{1}, Body: []byte("to nobody")})
	if m, ok := a.read().(signal.SendFailed); !ok || m.ID != 7 {
		t.Fatalf("got %#v", m)
	}
	stranger, _ := follow(t, i.link)
	stranger.token = "ef_of-nobody"
	if status, _ := stranger.asks(http.MethodGet, api.PathInvites, nil); status != http.StatusUnauthorized {
		t.Fatalf("a stranger is an administrator: %d", status)
	}
	var text string
	address := i.address("serving metrics")
	waittest.Until(t, "this instance has its lease", func() bool {
		text = scrape(t, address)
		return strings.Contains(text, "\neasyfind_lease_held 1\n")
	})
	for _, line := range []string{
		`easyfind_peers_connected 2`,
		`easyfind_connections{kind="signalling"} 2`,
		`easyfind_instances 1`,
		`easyfind_database_up 1`,
		`easyfind_signal_messages_total{path="local",result="delivered"} 1`,
		`easyfind_signal_messages_total{path="local",result="not_allowed"} 1`,
		`easyfind_signal_delivery_seconds_count{path="local"} 1`,
		`easyfind_outcomes_total{request="register",result="new"} 2`,
		`easyfind_refusals_total{reason="token",request="administer"} 1`,
		`easyfind_http_requests_total{code="201",method="POST",route="/v1/peers"} 2`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("%q is missing", line)
		}
	}
	if strings.Contains(text, a.key.ID().String()) || strings.Contains(text, a.key.ID().Short()) ||
		strings.Contains(text, "127.0.0.1") {
		t.Error("a label names a peer or an address")
	}
	for _, file := range []string{"../deploy/grafana/easyfind-rendezvous.json", "../deploy/grafana/alerts.yaml"} {
		names := metricsIn(t, file)
		if len(names) < 8 {
			t.Errorf("%s uses %d metrics: the test does not find the metrics", file, len(names))
		}
		for _, name := range names {
			// A counter with labels has no line before its first event.
			if !strings.Contains(text, "\n# TYPE "+name+" ") && !strings.Contains(text, "\n"+name+"{") &&
				!strings.Contains(text, "\n"+name+" ") {
				t.Errorf("%s uses %s, which does not exist", file, name)
			}
		}
	}
}

var metricName = regexp.MustCompile(`\b(easyfind|process|go)_[a-z_]+\b`)

// metricsIn returns the metrics that a dashboard or a file of alerts uses.
func metricsIn(t *testing.T, file string) []string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".json") && !json.Valid(raw) {
		t.Errorf("%s is not JSON", file)
	}
	seen := map[string]bool{}
	var names []string
	for _, name := range metricName.FindAllString(string(raw), -1) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

func TestWrongMetricsPortIsExplained(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	c := local(t)
	for want, address := range map[string]string{
		"want HOST:PORT":                       "9464",
		"choose another with --metrics-listen": busy.Addr().String(),
	} {
		c.MetricsListen = address
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
