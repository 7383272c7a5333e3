package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/alecthomas/kong"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/internal/logging"
	"github.com/easyfind-usb/easyfind/proto/api"
)

// command is the command line.
type command struct {
	Config   kong.ConfigFlag `help:"Read settings from this YAML file." type:"existingfile"`
	LogLevel slog.Level      `name:"log-level" help:"Log level: debug, info, warn or error." default:"info"`

	Rendezvous string        `help:"Join link of the rendezvous." placeholder:"LINK"`
	Hosts      []string      `help:"Connect to these addresses, not to the join link's." placeholder:"HOST:PORT"`
	Peers      int           `help:"Simulated agents." default:"1000"`
	For        time.Duration `help:"Time for which agents stay connected and send messages." default:"60s"`
	Messages   int           `help:"Messages per second of all agents; 0 sends none." default:"100"`
	Bytes      int           `help:"Size of a message in bytes." default:"416"`
	Pairs      int           `help:"Pairs of agents that send messages." default:"256"`
	Lookups    time.Duration `help:"Time for lookups at full speed; 0 skips them." default:"0s"`
	At         int           `name:"at-a-time" help:"Agents that register or connect at the same time." default:"64"`
	Sources    string        `help:"Local network of source addresses, such as 127.0.0.0/8." placeholder:"CIDR"`
	SetUp      time.Duration `name:"set-up" help:"Time limit for registering and connecting." default:"10m"`
	JSON       bool          `name:"json" help:"Report as JSON."`
}

// report is the result of a run. Rates are per second.
type report struct {
	Rendezvous    string         `json:"rendezvous"`
	Peers         int            `json:"peers"`
	Registrations swarm.Rate     `json:"registrations"`
	PerSecond     float64        `json:"registrations_per_second"`
	Connections   swarm.Rate     `json:"connections"`
	Online        int            `json:"online_at_the_end"`
	Lost          int            `json:"connections_lost"`
	Pings         int            `json:"pings"`
	Unanswered    int            `json:"pings_unanswered"`
	Messages      swarm.Messages `json:"messages"`
	Lookups       swarm.Rate     `json:"lookups"`
	Took          time.Duration  `json:"took_ns"`
}

func (c *command) check() (swarm.Config, error) {
	join, err := api.ParseJoinLink(c.Rendezvous)
	if err != nil {
		return swarm.Config{}, fmt.Errorf("--rendezvous: %w", err)
	}
	config := swarm.Config{Join: join, Hosts: c.Hosts}
	if c.Sources != "" {
		if config.Sources, err = netip.ParsePrefix(c.Sources); err != nil {
			return config, fmt.Errorf("--sources %q: want a network such as 127.0.0.0/8", c.Sources)
		}
	}
	switch {
	case c.Peers < 1:
		return config, errors.New("--peers: want at least 1")
	case c.Messages < 0 || c.Bytes < 24 || c.Bytes > 32<<10:
		return config, errors.New("--messages and --bytes: want a rate, and 24 to 32768 bytes")
	case c.Messages > 0 && (c.Peers < 2 || c.Pairs < 1):
		return config, errors.New("--messages: sending needs two --peers and one of --pairs; 0 sends none")
	case c.At < 1 || c.For <= 0 || c.SetUp <= 0 || c.Lookups < 0:
		return config, errors.New("--at-a-time, --for, --set-up and --lookups: want positive values")
	}
	return config, nil
}

// run measures until ctx ends or the measurement is complete, and removes the peers that it
// registered.
func (c *command) run(ctx context.Context, out, log io.Writer) (err error) {
	config, err := c.check()
	if err != nil {
		return err
	}
	config.Logger = logging.New(log, logging.Options{Level: c.LogLevel, Format: logging.Text})
	if err := swarm.RaiseFiles(c.Peers + c.At); err != nil {
		return err
	}
	s, err := swarm.New(config)
	if err != nil {
		return err
	}
	r := report{Rendezvous: config.Join.Host, Peers: c.Peers}
	began := time.Now()
	peers, err := c.measure(ctx, s, config.Logger, &r)
	r.Online, r.Lost, r.Took = s.Online(), s.Lost(), time.Since(began)
	r.Pings, r.Unanswered = s.Pings()
	removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.SetUp)
	defer cancel()
	err = errors.Join(err, s.Remove(removing, peers, c.At))
	s.Close()
	if err != nil {
		return err
	}
	return r.write(out, c.JSON)
}

// measure returns the registered peers, also with an error.
func (c *command) measure(ctx context.Context, s *swarm.Swarm, log *slog.Logger, r *report) (peers []*swarm.Peer,
	err error,
) {
	setUp, cancel := context.WithTimeoutCause(ctx, c.SetUp, errors.New("--set-up is over"))
	defer cancel()
	log.Info("registering", "peers", c.Peers)
	peers, r.Registrations, err = s.Register(setUp, c.Peers, c.At, swarm.PerConnection)
	r.PerSecond = r.Registrations.PerSecond()
	if err != nil {
		return peers, err
	}
	log.Info("connecting", "peers", c.Peers)
	began := time.Now()
	if err := s.Connect(setUp, peers, c.At); err != nil {
		return peers, err
	}
	r.Connections = swarm.Rate{Done: len(peers), Took: time.Since(began)}
	pairs := swarm.Pairs(peers, c.Pairs)
	if c.Messages > 0 || c.Lookups > 0 {
		if err := s.Allow(setUp, pairs, c.At); err != nil {
			return peers, err
		}
	}
	if c.Lookups > 0 {
		log.Info("looking peers up", "duration", c.Lookups)
		if r.Lookups, err = s.Lookup(ctx, pairs, c.At, c.Lookups); err != nil {
			return peers, err
		}
	}
	log.Info("sending messages", "peers", s.Online(), "duration", c.For)
	if c.Messages > 0 {
		r.Messages, err = s.Send(ctx, pairs, swarm.Load{PerSecond: c.Messages, During: c.For, Bytes: c.Bytes})
		return peers, err
	}
	timer := time.NewTimer(c.For)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return peers, context.Cause(ctx)
}

func (r *report) write(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprintf(out, "%d peers at %s, %s in all\n\n", r.Peers, r.Rendezvous, r.Took.Round(time.Second))
	line := func(what, format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(out, "%-14s "+format+"\n", append([]any{what}, args...)...)
		}
	}
	line("registrations", "%.0f/s, %s", r.PerSecond, times(r.Registrations.Latency))
	line("connections", "%.0f/s; %d online at the end, %d lost meanwhile", r.Connections.PerSecond(), r.Online, r.Lost)
	line("pings", "%d, %d without an answer", r.Pings, r.Unanswered)
	if m := r.Messages; m.Offered > 0 {
		line("messages", "%.0f/s, %d sent, %d delivered, %d confirmed, %d lost, %d unwritten",
			float64(m.Offered)/m.Took.Seconds(),
			m.Offered, len(m.Delivered), len(m.Confirmed), m.Lost, m.Unwritten)
		line("  delivery", "%s", times(m.Delivered))
		line("  confirmed", "%s", times(m.Confirmed))
		for code, n := range m.Failed {
			line("  failed", "%d: %s", n, code.Error())
		}
	}
	if r.Lookups.Done > 0 {
		line("lookups", "%.0f/s, %s", r.Lookups.PerSecond(), times(r.Lookups.Latency))
	}
	return err
}

// times formats the quantiles of latencies for people.
func times(l swarm.Latencies) string {
	ms := func(q float64) float64 { return float64(l.Quantile(q).Microseconds()) / 1000 }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms", ms(0.5), ms(0.99), ms(0.999))
}
