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
	"unicode/utf8"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
)

// report holds all results.
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
	resumed     float64 // fraction of the attempts
}

func (r *report) begin(s scale, measured bool) {
	r.scale, r.measured, r.began, r.loadBefore = s, measured, time.Now(), load()
}

// markdown returns all tables.
func (r *report) markdown() string {
	var b strings.Builder
	for _, part := range []func(*strings.Builder){
		r.writeConditions, r.writeIdle, r.writeREST, r.writeTalks, r.writeHandshakes, r.writeStorms,
	} {
		part(&b)
	}
	return b.String()
}

// The figures are written to a document, between two marks.
const (
	document     = "deploy/docs/benchmarks-rendezvous.md"
	beginFigures = "<!-- figures of make bench-rendezvous -->\n"
	endFigures   = "<!-- end of figures -->\n"
)

// paragraph writes a title, if any, and a text in lines of at most lineWidth characters.
func paragraph(b *strings.Builder, title, format string, args ...any) {
	const lineWidth = 118
	b.WriteString("\n")
	if title != "" {
		b.WriteString("### " + title + "\n\n")
	}
	column := 0
	for _, word := range strings.Fields(fmt.Sprintf(format, args...)) {
		width := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+width > lineWidth:
			b.WriteString("\n")
			column = 0
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += width
	}
	b.WriteString("\n")
}

// table writes the head of a table.
func table(b *strings.Builder, columns ...string) {
	b.WriteString("\n| " + strings.Join(columns, " | ") + " |\n|" + strings.Repeat("---|", len(columns)) + "\n")
}

// write writes the tables to the document.
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

// writeConditions writes where and when the figures were measured.
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
	paragraph(b, "", "Measured on %s, in %s: %d cores of %s, Linux %s, %s. The server, Postgres and the simulated "+
		"agents "+
		"share the cores. Load average before: %s, after: %s.",
		r.began.Format("2006-01-02 15:04"), time.Since(r.began).Round(time.Second), runtime.NumCPU(), cpuModel(),
		release, runtime.Version(), r.loadBefore, load())
	if !r.measured {
		b.WriteString("This was the small run. Its figures mean nothing.\n")
	}
}

// cpuModel returns the name of the processor.
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

// us and ms format a time in microseconds and milliseconds.
func us(d time.Duration) string { return digits(float64(d) / float64(time.Microsecond)) }
func ms(d time.Duration) string { return digits(float64(d) / float64(time.Millisecond)) }

// digits formats a number with three significant digits. The figures are not more
// precise.
func digits(v float64) string {
	switch {
	case v >= 99.95 || v <= -99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995 || v <= -9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// quantiles formats the median, the 99th and the 99.9th percentile.
func quantiles(l swarm.Latencies) string {
	return ms(l.Quantile(0.5)) + " / " + ms(l.Quantile(0.99)) + " / " + ms(l.Quantile(0.999))
}

func (r *report) writeIdle(b *strings.Builder) {
	if len(r.idle) < 2 {
		return
	}
	paragraph(b, "Idle peers", "One instance on Postgres. Each peer sends a ping every 30 s. Memory is the "+
		"resident memory "+
		"of the process, %s after the last peer has connected.", r.scale.settle+r.scale.window)
	table(b, "peers", "RSS MB", "KB per peer", "KB per added peer", "CPU ms per peer and hour", "% of a core",
		"connections/s", "CPU ms per connection")
	base := r.idle[0]
	fmt.Fprintf(b, "| 0 | %s | | | | | | |\n", digits(float64(base.rss)/(1<<20)))
	for n, f := range r.idle[1:] {
		before := r.idle[n]
		fmt.Fprintf(b, "| %d | %s | **%s** | %s | %s | %s | %s | %s |\n", f.peers, digits(float64(f.rss)/(1<<20)),
			digits(float64(f.rss-base.rss)/1024/float64(f.peers)),
			digits(float64(f.rss-before.rss)/1024/float64(f.peers-before.peers)),
			digits(1000*f.cpu.Seconds()/f.window.Seconds()*3600/float64(f.peers)),
			digits(100*f.cpu.Seconds()/f.window.Seconds()),
			digits(f.perSecond), ms(f.connected))
	}
}

func (r *report) writeREST(b *strings.Builder) {
	if len(r.rest) == 0 {
		return
	}
	paragraph(b, "Registrations and lookups", "REST over TLS, %d connections at a time. A registration is a "+
		"request for a "+
		"challenge and the registration itself; the latency is that of both. It uses an invite, and every "+
		"signature is "+
		"verified. Postgres and SQLite commit as they do in production. The figures are medians of %d rounds; the "+
		"latencies are p50 / p99 / p99.9 in ms of all rounds.", r.scale.conns, r.scale.rounds)
	table(b, "operation", "database", "per second", "latency ms", "CPU µs of the server per operation")
	for _, f := range r.rest {
		for _, row := range []struct {
			what string
			rate rate
		}{
			{fmt.Sprintf("registrations, %d on one connection", swarm.PerConnection), f.many},
			{"registrations, one on each connection", f.alone},
			{"lookups of a peer, with its online state", f.lookups},
		} {
			fmt.Fprintf(b, "| %s | %s | **%s** | %s | %s |\n", row.what, f.store,
				digits(row.rate.perSecond), quantiles(row.rate.latency), us(row.rate.cpu))
		}
	}
}

func (r *report) writeTalks(b *strings.Builder) {
	if len(r.talks) == 0 {
		return
	}
	paragraph(b, "Signalling", "%d peers at two instances with one Postgres. Pairs exchange messages of %d bytes "+
		"at regular "+
		"intervals. The latency lasts from just before the sender writes the message until the receiver has it. Each "+
		"message is also confirmed to its sender. NOTIFY is Postgres alone: the same payload on the channels of %d "+
		"listeners, from %d connections. There are %d rounds of each kind, in turn; the figures are of all rounds.",
		r.scale.talkers, messageBytes, r.listeners, notifySenders, r.scale.rounds)
	table(b, "messages/s offered", "way", "sent/s", "p50 ms", "p99 ms", "p99.9 ms", "not delivered",
		"p99 ÷ NOTIFY's p99")
	for _, t := range r.talks {
		ratio := ""
		for _, other := range r.talks {
			if other.way == "NOTIFY" && other.offered == t.offered && t.way != "NOTIFY" {
				ratio = digits(float64(t.delivered.Quantile(0.99)) / float64(other.delivered.Quantile(0.99)))
			}
		}
		fmt.Fprintf(b, "| %d | %s | %s | %s | **%s** | %s | %d | %s |\n", t.offered, t.way, digits(median(t.sent)),
			ms(t.delivered.Quantile(0.5)), ms(t.delivered.Quantile(0.99)), ms(t.delivered.Quantile(0.999)), t.lost,
			ratio)
	}
}

func (r *report) writeHandshakes(b *strings.Builder) {
	if r.handshakes == nil {
		return
	}
	h := r.handshakes
	paragraph(b, "New connections", "TCP, TLS 1.3 and the challenge of the rendezvous, then the connection is "+
		"closed. %d "+
		"connections at a time, medians of %d rounds. %s %% of the attempts to resume a TLS session succeeded.",
		r.scale.conns, r.scale.rounds, digits(100*h.resumed))
	table(b, "handshake", "per second", "CPU µs of the server per connection", "per second and core of the server")
	for _, row := range []struct {
		what string
		rate rate
	}{{"full", h.full}, {"resumed if possible", h.again}} {
		perCore := float64(time.Second) / float64(max(1, row.rate.cpu))
		fmt.Fprintf(b, "| %s | %s | **%s** | %s |\n", row.what, digits(row.rate.perSecond), us(row.rate.cpu),
			digits(perCore))
	}
}

func (r *report) writeStorms(b *strings.Builder) {
	if len(r.storms) == 0 {
		return
	}
	paragraph(b, "A killed instance", "Three instances. One is killed with SIGKILL %s after the last peer has "+
		"connected; then "+
		"it is started again, without peers, and another one is killed. The peers see the end of their connection and "+
		"connect again: at once, and then with the retry intervals of an agent. They try the three addresses in "+
		"turn, as "+
		"for a name with three addresses. The quantiles are of the peers that lost their instance, until they are "+
		"connected again. Afterwards pairs of peers exchange messages.", r.scale.steady)
	table(b, "peers", "lost", "half back after s", "90 %", "99 %", "all", "never", "messages afterwards", "confirmed",
		"p99 ms")
	for _, f := range r.storms {
		at := func(q float64) string { return digits(f.back.Back.Quantile(q).Seconds()) }
		fmt.Fprintf(b, "| %d | %d | %s | %s | **%s** | %s | %d | %d | %d | %s |\n", f.peers, f.back.Lost, at(0.5),
			at(0.9), at(0.99), at(1),
			f.back.Lost-len(f.back.Back), f.after.Offered, len(f.after.Confirmed), ms(f.after.Confirmed.Quantile(0.99)))
	}
}
