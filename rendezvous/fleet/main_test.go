//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/processtest"
)

// program is the path of the server, built as for a release.
var program string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	scratch, err := os.MkdirTemp("", "easyfind-fleet-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if program, err = processtest.Build(scratch); err != nil {
		return 1, err
	}
	return pgtest.Main{M: m}.Run(), goleak.Find()
}

// timeout bounds waits. It is generous, because recoveries take some seconds and the
// tests run in parallel.
const timeout = 90 * time.Second

// eventually calls check until it returns nil. The test fails with the last error
// after timeout.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(timeout)
	for err := check(); err != nil; err = check() {
		if now := <-tick.C; now.After(deadline) {
			t.Fatalf("not within %v: %s: %v", timeout, what, err)
		}
	}
}

// fleet is a set of instances with one database.
type fleet struct {
	t        *testing.T
	url      string
	all      []*processtest.Instance
	balancer *balancer
	swarm    *swarm.Swarm
}

// newFleet starts n instances behind a balancer, and a swarm that connects through it.
// options returns more settings of an instance; it may be nil.
func newFleet(t *testing.T, url string, n int, options func(i int) []string) *fleet {
	t.Helper()
	f := &fleet{t: t, url: url}
	first := f.start(0, nil, options)
	certificate := certificateOf(first)
	f.all = append(f.all, first)
	for i := 1; i < n; i++ {
		f.all = append(f.all, f.start(i, certificate, options))
	}
	f.balancer = newBalancer(t, f.all)
	f.swarm = f.newSwarm()
	t.Cleanup(func() {
		if t.Failed() {
			for i, one := range f.all {
				t.Logf("instance %d:\n%s", i, one.Log())
			}
		}
	})
	return f
}

// certificateOf returns the settings by which an instance uses the certificate of
// another.
func certificateOf(i *processtest.Instance) []string {
	return []string{
		"--tls-cert", filepath.Join(i.Data, "tls-cert.pem"), "--tls-key", filepath.Join(i.Data, "tls-key.pem"),
	}
}

// start starts an instance.
func (f *fleet) start(i int, certificate []string, options func(i int) []string) *processtest.Instance {
	f.t.Helper()
	args := append([]string{
		"--database-url", f.url, "--proxy-protocol", balancerAddress + "/32", "--log-level", "debug",
	}, certificate...)
	if options == nil {
		options = func(int) []string { return []string{"--cluster-listen", "127.0.0.1:0"} }
	}
	return processtest.Start(f.t, program, append(args, options(i)...)...)
}

// newSwarm returns a swarm that connects through the balancer.
func (f *fleet) newSwarm() *swarm.Swarm {
	f.t.Helper()
	join, err := api.ParseJoinLink(f.all[0].Link)
	if err != nil {
		f.t.Fatal(err)
	}
	s, err := swarm.New(swarm.Config{Join: join, Hosts: []string{f.balancer.address()}, Sources: sources})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	return s
}

// peers registers and connects peers, and pairs them.
func (f *fleet) peers(s *swarm.Swarm, n int) ([]*swarm.Peer, []swarm.Pair) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), timeout)
	defer cancel()
	peers, _, err := s.Register(ctx, n, 8, swarm.PerConnection)
	if err != nil {
		f.t.Fatal(err)
	}
	pairs := swarm.Pairs(peers, n/2)
	if err := s.Allow(ctx, pairs, 8); err != nil {
		f.t.Fatal(err)
	}
	if err := s.Connect(ctx, peers, 16); err != nil {
		f.t.Fatal(err)
	}
	return peers, pairs
}

// talk lets pairs exchange messages in the background for some time. The function
// that it returns waits until they have finished and returns the result.
func (f *fleet) talk(s *swarm.Swarm, pairs []swarm.Pair, during time.Duration) func() swarm.Messages {
	type outcome struct {
		m   swarm.Messages
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		m, err := s.Send(f.t.Context(), pairs, swarm.Load{PerSecond: perSecond, During: during, Bytes: 300})
		done <- outcome{m, err}
	}()
	return func() swarm.Messages {
		f.t.Helper()
		o := <-done
		if o.err != nil {
			f.t.Fatal(o.err)
		}
		f.truthful(o.m)
		return o.m
	}
}

// sources are the addresses from which peers connect. Each peer has its own.
var sources = netip.MustParsePrefix("127.64.0.0/10")

const (
	perSecond     = 150         // messages
	answerTimeout = time.Minute // an answer later than that counts as missing
)

// truthful checks that the answers to the senders of messages are true.
func (f *fleet) truthful(m swarm.Messages) {
	f.t.Helper()
	quantile := func(q float64) time.Duration { return m.Confirmed.Quantile(q).Round(time.Microsecond) }
	f.t.Logf("%d messages: %d confirmed (p50 %s, p99 %s), failed %v, %d cut, %d unwritten, slowest answer %s",
		m.Offered, len(m.Confirmed), quantile(0.5), quantile(0.99), m.Failed, m.Cut, m.Unwritten,
		m.Slowest.Round(time.Millisecond))
	if m.Untrue > 0 {
		f.t.Errorf("%d messages were confirmed and have not arrived", m.Untrue)
	}
	if m.Lost > 0 {
		f.t.Errorf("the senders of %d messages got no answer", m.Lost)
	}
	if m.Slowest > answerTimeout {
		f.t.Errorf("an answer took %s", m.Slowest)
	}
}

// settled waits until every message of the pairs arrives.
func (f *fleet) settled(s *swarm.Swarm, pairs []swarm.Pair) {
	f.t.Helper()
	eventually(f.t, "every message arrives", func() error {
		m := f.talk(s, pairs, time.Second)()
		if len(m.Confirmed) != m.Offered || m.Unwritten > 0 {
			return fmt.Errorf("%d of %d confirmed, failed %v, %d unwritten",
				len(m.Confirmed), m.Offered, m.Failed, m.Unwritten)
		}
		return nil
	})
}

// connected waits until every peer of a swarm is connected.
func connected(t *testing.T, s *swarm.Swarm, n int) {
	t.Helper()
	eventually(t, "every peer is connected", func() error {
		if now := s.Online(); now != n {
			return fmt.Errorf("%d of %d", now, n)
		}
		return nil
	})
}

// get sends a request to an instance, not through the balancer.
func (f *fleet) get(i *processtest.Instance, path, token string) (*http.Response, string, error) {
	f.t.Helper()
	join, err := api.ParseJoinLink(f.all[0].Link)
	if err != nil {
		f.t.Fatal(err)
	}
	config := ident.PinnedTLS(*join.Pin)
	config.NextProtos = []string{"http/1.1"}
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: timeout,
	}
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, "https://"+i.Host+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, strings.TrimSpace(string(body)), err
}

// ready waits until /readyz of an instance answers with a status.
func (f *fleet) ready(i *processtest.Instance, want int) (body string) {
	f.t.Helper()
	eventually(f.t, fmt.Sprint("/readyz answers ", want), func() error {
		res, text, err := f.get(i, api.PathReady, "")
		if err != nil {
			return err
		}
		if body = text; res.StatusCode != want {
			return fmt.Errorf("%s: %s", res.Status, text)
		}
		return nil
	})
	return body
}

// database creates an empty database on the shared Postgres server.
func database(t *testing.T) (name, url string) {
	t.Helper()
	c := pgtest.Shared(t)
	name = c.Database(t)
	return name, c.URL(name)
}
