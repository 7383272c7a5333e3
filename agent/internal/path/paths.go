package path

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// Config configures [Paths].
type Config struct {
	// Conn carries the packets of the agent's UDP socket that are not QUIC. Its
	// LocalAddr must be a *net.UDPAddr. If that address is unspecified, the
	// addresses of the machine's interfaces are used; [::] stands for both
	// families. Run closes Conn.
	Conn   net.PacketConn
	Logger *slog.Logger // nil discards
	// AllowLoopback uses and accepts loopback addresses, for tests on one machine.
	AllowLoopback bool
	// TLS is the configuration for "turns:" servers. The name of the server is
	// filled in. nil uses the system's root certificates.
	TLS *tls.Config
}

// Paths makes attempts on one socket.
type Paths struct {
	cfg   Config
	log   *slog.Logger
	local netip.AddrPort // of the socket
	mux   *mux

	mu       sync.Mutex // guards the fields below
	nat      call.NAT   // found by Probe
	attempts map[*Attempt]struct{}
	closed   bool
}

// New returns Paths on a socket. The caller must then call [Paths.Run].
func New(cfg Config) (*Paths, error) {
	if cfg.Conn == nil {
		return nil, errors.New("paths: Conn is required")
	}
	local, ok := cfg.Conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("paths: a socket of type %T, want UDP", cfg.Conn.LocalAddr())
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Paths{
		cfg: cfg, log: cfg.Logger, local: local.AddrPort(), mux: newMux(cfg.Conn),
		attempts: make(map[*Attempt]struct{}),
	}, nil
}

// Run reads the socket until ctx ends or the socket fails. Then it closes all open
// attempts and the socket. It must be called once.
func (p *Paths) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_ = p.cfg.Conn.SetReadDeadline(time.Unix(1, 0)) // ends a read that Close would not end
		_ = p.cfg.Conn.Close()
	})
	err := p.mux.serve()
	stop()
	p.mu.Lock()
	p.closed = true
	open := make([]*Attempt, 0, len(p.attempts))
	for a := range p.attempts {
		open = append(open, a)
	}
	p.mu.Unlock()
	for _, a := range open {
		a.Close()
	}
	p.mux.close()
	_ = p.cfg.Conn.Close()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// NAT returns the result of the last Probe.
func (p *Paths) NAT() call.NAT {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nat
}

// hosts returns the addresses at which the socket can be reached without NAT: IPv6
// first, and otherwise in the order of the interfaces.
func (p *Paths) hosts() []netip.AddrPort {
	if !p.local.Addr().IsUnspecified() {
		if a, err := checkAddr(p.local, p.cfg.AllowLoopback); err == nil {
			return []netip.AddrPort{a}
		}
		return nil
	}
	ifaces, err := net.Interfaces()
	if err != nil {
		p.log.Warn("cannot list the network interfaces", "err", err)
		return nil
	}
	dual := p.local.Addr().Is6()
	var v4, v6 []netip.AddrPort
	for _, i := range ifaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // the interface no longer exists
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, _ := netip.AddrFromSlice(n.IP)
			ap, err := checkAddr(netip.AddrPortFrom(ip.Unmap(), p.local.Port()), p.cfg.AllowLoopback)
			switch {
			case err != nil:
			case ap.Addr().Is4():
				v4 = append(v4, ap)
			case dual:
				v6 = append(v6, ap)
			}
		}
	}
	slices.SortStableFunc(v4, loopbackLast)
	slices.SortStableFunc(v6, loopbackLast)
	// Each family gets at least half of the places, because a machine may have
	// many temporary IPv6 addresses.
	v6 = v6[:min(len(v6), call.MaxHosts-min(len(v4), call.MaxHosts/2))]
	return append(v6, v4[:min(len(v4), call.MaxHosts-len(v6))]...)
}

func loopbackLast(a, b netip.AddrPort) int {
	switch {
	case a.Addr().IsLoopback() == b.Addr().IsLoopback():
		return 0
	case a.Addr().IsLoopback():
		return 1
	}
	return -1
}

// isOwn reports whether an address is that of the socket on one of the machine's
// interfaces, so that no NAT has changed it.
func (p *Paths) isOwn(a netip.AddrPort) bool { return slices.Contains(p.hosts(), a) }
