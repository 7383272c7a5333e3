//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
)

// report is what was measured.
type report struct {
	scale      scale
	measured   bool
	began      time.Time
	loadBefore string

	rest       []restFigures
	talks      []talk
	listeners  int
	handshakes *handshakeFigures
	idle       []idleFigures // the first is without peers
	storms     []stormFigures
}

type restFigures struct {
	store                string
	many, alone, lookups rate
}

type handshakeFigures struct {
	full, again rate
	resumed     float64 // part of those that tried
}

func (r *report) begin(s scale, measured bool) {
	r.scale, r.measured, r.began, r.loadBefore = s, measured, time.Now(), load()
}

// markdown is all tables.
func (r *report) markdown() string {
	var b strings.Builder
	for _, part := range []func(*strings.Builder){r.writeConditions, r.writeIdle, r.writeREST, r.writeTalks, r.writeHandshakes, r.writeStorms} {
		part(&b)
	}
	return b.String()
}

// document is the file that the figures are kept in, and the marks between
// which they stand.
const (
	document     = "deploy/docs/benchmarks-rendezvous.md"
	beginFigures = "<!-- figures of make bench-rendezvous -->\n"
	endFigures   = "<!-- end of figures -->\n"
)

// write puts the tables into the document.
func (r *report) write() error {
	name := filepath.Join("..", "..", document)
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(raw), beginFigures)
	_, after, ended := strings.Cut(rest, endFigures)
	if !ok || !ended {
		return fmt.Errorf("%s has no place for the figures", document)
	}
	return os.WriteFile(name, []byte(before+beginFigures+r.markdown()+endFigures+after), 0o644)
}

func (r *report) writeConditions(b *strings.Builder) {
	var u syscall.Utsname
	release := "?"
	if syscall.Uname(&u) == nil {
		var text []byte
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			text = append(text, byte(c))
		}
		release = string(text)
	}
	fmt.Fprintf(b, "\nMeasured on %s, in %s: %d cores of %s, Linux %s, %s; server, Postgres and simulated agents on the same cores. Load average before: %s, after: %s.\n",
		r.began.Format("2006-01-02 15:04"), time.Since(r.began).Round(time.Second), runtime.NumCPU(), cpuModel(), release, runtime.Version(), r.loadBefore, load())
	if !r.measured {
		b.WriteString("This was the small run, whose figures mean nothing.\n")
	}
}

func cpuModel() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "an unknown processor"
}

// us and ms write a time with three digits.
func us(d time.Duration) string { return digits(float64(d) / float64(time.Microsecond)) }
func ms(d time.Duration) string { return digits(float64(d) / float64(time.Millisecond)) }

// digits writes three significant digits, as more would pretend precision.
func digits(v float64) string {
	switch {
	case v >= 99.95 || v <= -99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995 || v <= -9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func quantiles(l swarm.Latencies) string {
	return ms(l.Quantile(0.5)) + " / " + ms(l.Quantile(0.99)) + " / " + ms(l.Quantile(0.999))
}

func (r *report) writeIdle(b *strings.Builder) {
	if len(r.idle) < 2 {
		return
	}
	fmt.Fprintf(b, "\n### Idle peers\n\nOne instance on Postgres. Each peer pings once in 30 s. Memory is the process's RSS %s after the last of them connected.\n\n", r.scale.settle+r.scale.window)
	b.WriteString("| peers | RSS MB | KB per peer | KB per peer since the row above | processor: ms per peer and hour | % of a core in all | connections/s | processor per connection ms |\n|---|---|---|---|---|---|---|---|\n")
	base := r.idle[0]
	fmt.Fprintf(b, "| 0 | %s | | | | | | |\n", digits(float64(base.rss)/(1<<20)))
	for n, f := range r.idle[1:] {
		before := r.idle[n]
		fmt.Fprintf(b, "| %d | %s | **%s** | %s | %s | %s | %s | %s |\n", f.peers, digits(float64(f.rss)/(1<<20)),
			digits(float64(f.rss-base.rss)/1024/float64(f.peers)), digits(float64(f.rss-before.rss)/1024/float64(f.peers-before.peers)),
			digits(1000*f.cpu.Seconds()/f.window.Seconds()*3600/float64(f.peers)), digits(100*f.cpu.Seconds()/f.window.Seconds()),
			digits(f.perSecond), ms(f.connected))
	}
}

func (r *report) writeREST(b *strings.Builder) {
	if len(r.rest) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### Registrations and lookups\n\nThrough REST over TLS, %d connections at a time; a registration is a challenge and the registration proper, of which the latency is. With an invite, every signature checked. Postgres and SQLite commit as they do for an operator. Medians of %d rounds; latencies p50 / p99 / p99.9 in ms of all.\n\n", r.scale.conns, r.scale.rounds)
	b.WriteString("| what | store | per second | latency ms | the server's processor time for one, µs |\n|---|---|---|---|---|\n")
	for _, f := range r.rest {
		for _, row := range []struct {
			what string
			rate rate
		}{
			{fmt.Sprintf("registrations, %d over one connection", swarm.PerConnection), f.many},
			{"registrations, each over a connection of its own", f.alone},
			{"lookups of a peer and whether it is online", f.lookups},
		} {
			fmt.Fprintf(b, "| %s | %s | **%s** | %s | %s |\n", row.what, f.store, digits(row.rate.perSecond), quantiles(row.rate.latency), us(row.rate.cpu))
		}
	}
}

func (r *report) writeTalks(b *strings.Builder) {
	if len(r.talks) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### Signalling\n\n%d peers at two instances over one Postgres; messages of %d bytes between pairs, evenly spaced, from just before the sender writes until the receiver has it; each is confirmed to its sender besides. NOTIFY is Postgres alone: the same payload on channels of %d listeners, from %d connections. Rounds alternate, %d of each; the population is all rounds'.\n\n",
		r.scale.talkers, messageBytes, r.listeners, notifySenders, r.scale.rounds)
	b.WriteString("| messages/s offered | way | sent/s | p50 ms | p99 ms | p99.9 ms | not delivered | p99 ÷ NOTIFY's |\n|---|---|---|---|---|---|---|---|\n")
	for _, t := range r.talks {
		ratio := ""
		for _, other := range r.talks {
			if other.way == "NOTIFY" && other.offered == t.offered && t.way != "NOTIFY" {
				ratio = digits(float64(t.delivered.Quantile(0.99)) / float64(other.delivered.Quantile(0.99)))
			}
		}
		fmt.Fprintf(b, "| %d | %s | %s | %s | **%s** | %s | %d | %s |\n", t.offered, t.way, digits(median(t.sent)),
			ms(t.delivered.Quantile(0.5)), ms(t.delivered.Quantile(0.99)), ms(t.delivered.Quantile(0.999)), t.lost, ratio)
	}
}

func (r *report) writeHandshakes(b *strings.Builder) {
	if r.handshakes == nil {
		return
	}
	h := r.handshakes
	fmt.Fprintf(b, "\n### New connections\n\nTCP, TLS 1.3 and the rendezvous's Challenge, then the connection is closed; %d at a time, medians of %d rounds. Who tried to resume did so in %s %% of its connections.\n\n", r.scale.conns, r.scale.rounds, digits(100*h.resumed))
	b.WriteString("| handshake | per second | the server's processor time for one, µs | per second and core of the server |\n|---|---|---|---|\n")
	for _, row := range []struct {
		what string
		rate rate
	}{{"full", h.full}, {"resumed where it may be", h.again}} {
		fmt.Fprintf(b, "| %s | %s | **%s** | %s |\n", row.what, digits(row.rate.perSecond), us(row.rate.cpu), digits(float64(time.Second)/float64(max(1, row.rate.cpu))))
	}
}

func (r *report) writeStorms(b *strings.Builder) {
	if len(r.storms) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### An instance killed\n\nThree instances, one killed with -9 %s after the last peer connected; then, with that one started again and empty, another. Its peers see the connection end and connect again, at once and then with the agent's waits, to the three addresses in turn, and to the next one where one does not answer, as a name with three addresses has it. Quantiles are of the peers that lost their instance, until each is connected again. Afterwards pairs of all peers send messages.\n\n", r.scale.steady)
	b.WriteString("| peers | lost | half back after s | 90 % | 99 % | all | never | messages afterwards | confirmed | p99 ms |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range r.storms {
		at := func(q float64) string { return digits(f.back.Back.Quantile(q).Seconds()) }
		fmt.Fprintf(b, "| %d | %d | %s | %s | **%s** | %s | %d | %d | %d | %s |\n", f.peers, f.back.Lost, at(0.5), at(0.9), at(0.99), at(1),
			f.back.Lost-len(f.back.Back), f.after.Offered, len(f.after.Confirmed), ms(f.after.Confirmed.Quantile(0.99)))
	}
}
