package path

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/ice/v2"
	"github.com/pion/stun"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// Intervals and bounds of the checks.
const (
	// checkInterval is the time between two checks of a pair, until a pair is
	// selected. A pair that works is nominated at the next interval.
	checkInterval = 100 * time.Millisecond
	// maxChecks bounds the checks of one pair. The peer may learn an address 5 s
	// late, and the check that opens the local NAT may be lost. The library's default
	// of 7 checks would be used up by then.
	maxChecks = 200
	// relayDelay is the time that a relayed pair waits for a direct one.
	relayDelay = time.Second
	// connectTimeout bounds Connect.
	connectTimeout = 20 * time.Second
)

// AttemptConfig configures an [Attempt].
type AttemptConfig struct {
	// Controlling is true for exactly one of the two peers, which selects the pair.
	Controlling bool
	Servers     []Server // at most 16 are used
	// OnLocal is called with each candidate that is found and is not in the
	// Description. The caller sends it to the peer. Calls are not concurrent.
	// OnLocal must not block for long or call Close. It may be nil.
	OnLocal func(call.Candidate)
}

// Attempt is one run of ICE with one peer, from NewAttempt to Close.
type Attempt struct {
	paths *Paths
	cfg   AttemptConfig
	own   call.NAT // at the beginning
	local call.Description
	agent *ice.Agent
	relay *relayNet
	mux   *agentMux

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	once   sync.Once

	reporting sync.Mutex // held during calls of OnLocal

	mu      sync.Mutex // guards the fields below
	remotes map[netip.AddrPort]call.Candidate
	peer    *call.Description // set by Connect
	// reflexiveAt is the time at which the first reflexive candidate of the peer
	// arrived during Connect.
	reflexiveAt time.Time
	allocs      map[netip.AddrPort]allocation
	relayed     *relayedConn
}

// allocation describes a local TURN allocation.
type allocation struct {
	via    call.Via
	server string // IP address and port
}

var errClosed = errors.New("the attempt is closed")

// NewAttempt begins an attempt. It makes allocations at the TURN servers and
// queries the public address at once, so OnLocal may be called before Connect.
// [Paths.Run] must be running. The caller must call Close.
func (p *Paths) NewAttempt(cfg AttemptConfig) (*Attempt, error) {
	own := p.NAT()
	uris, err := relayURIs(cfg.Servers, own)
	if err != nil {
		return nil, err
	}
	a := &Attempt{
		paths: p, cfg: cfg, own: own,
		// rand.Text returns 26 characters of 5 random bits.
		local:   call.Description{Ufrag: rand.Text()[:16], Pwd: rand.Text(), Hosts: p.hosts(), NAT: own},
		mux:     &agentMux{mux: p.mux},
		remotes: make(map[netip.AddrPort]call.Candidate),
		allocs:  make(map[netip.AddrPort]allocation),
	}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	if err := a.start(uris); err != nil {
		a.cancel(err)
		return nil, fmt.Errorf("ICE: %w", err)
	}
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.attempts[a] = struct{}{}
	}
	p.mu.Unlock()
	if closed { // Run has ended and will not close this attempt
		a.Close()
		return nil, fmt.Errorf("ICE: %w", net.ErrClosed)
	}
	return a, nil
}

// start makes the ICE agent and begins to gather candidates.
func (a *Attempt) start(uris []*stun.URI) error {
	var err error
	if a.relay, err = newRelayNet(a.ctx, a.paths.cfg.TLS); err != nil {
		return err
	}
	for _, u := range uris {
		if via(u) == call.ViaTLS {
			a.relay.secure[net.JoinHostPort(u.Host, fmt.Sprint(u.Port))] = true
		}
	}
	var families []ice.NetworkType
	a.mux.addrs, families = bases(a.local.Hosts)
	if a.agent, err = ice.NewAgent(a.agentConfig(uris, families)); err != nil {
		return err
	}
	gathering := []error{
		a.agent.OnCandidate(a.onCandidate),
		a.agent.OnConnectionStateChange(a.onStateChange),
		a.agent.GatherCandidates(),
	}
	if err := errors.Join(gathering...); err != nil {
		return errors.Join(err, a.agent.Close())
	}
	a.wg.Go(a.findReflexive)
	return nil
}

func (a *Attempt) agentConfig(uris []*stun.URI, families []ice.NetworkType) *ice.AgentConfig {
	var none time.Duration
	wait, interval, checks := relayDelay, checkInterval, uint16(maxChecks)
	if a.own.UDPBlocked {
		wait = none // no direct pair is possible
	}
	conf := &ice.AgentConfig{
		LocalUfrag:             a.local.Ufrag,
		LocalPwd:               a.local.Pwd,
		MulticastDNSMode:       ice.MulticastDNSModeDisabled,
		NetworkTypes:           families,
		CandidateTypes:         []ice.CandidateType{ice.CandidateTypeHost},
		LoggerFactory:          iceLog{a.paths.log},
		CheckInterval:          &interval,
		MaxBindingRequests:     &checks,
		HostAcceptanceMinWait:  &none,
		SrflxAcceptanceMinWait: &none,
		PrflxAcceptanceMinWait: &none,
		RelayAcceptanceMinWait: &wait,
		IncludeLoopback:        a.paths.cfg.AllowLoopback,
		UDPMux:                 a.mux,
		Net:                    a.relay,
		ProxyDialer:            a.relay,
	}
	if len(uris) > 0 {
		conf.Urls = uris
		conf.CandidateTypes = append(conf.CandidateTypes, ice.CandidateTypeRelay)
	}
	return conf
}

// bases returns one address for each family, as the base of all candidates of the
// socket, and the network types of the ICE agent.
func bases(hosts []netip.AddrPort) (addrs []net.Addr, families []ice.NetworkType) {
	// A relayed candidate is IPv4 even if the socket has no IPv4 address.
	families = []ice.NetworkType{ice.NetworkTypeUDP4}
	var have4, have6 bool
	for _, h := range hosts {
		switch {
		case h.Addr().Is4() && !have4:
			have4 = true
			addrs = append(addrs, net.UDPAddrFromAddrPort(h))
		case h.Addr().Is6() && !have6:
			have6 = true
			addrs = append(addrs, net.UDPAddrFromAddrPort(h))
			families = append(families, ice.NetworkTypeUDP6)
		}
	}
	return addrs, families
}

// Local returns the description that the peer needs first.
func (a *Attempt) Local() call.Description { return a.local }

// onCandidate handles a local candidate of the ICE agent. nil ends gathering.
func (a *Attempt) onCandidate(c ice.Candidate) {
	r, ok := c.(*ice.CandidateRelay)
	if !ok {
		return
	}
	a.mu.Lock()
	at, alloc, err := a.allocated(r)
	a.mu.Unlock()
	if err != nil {
		a.paths.log.Debug("cannot use an allocation", "err", err)
		return
	}
	a.report(call.Candidate{Type: call.RelayCandidate, Addr: at, Priority: relayPriority(alloc.via), Via: alloc.via})
}

// allocated adds an allocation unless it is known. mu must be held.
func (a *Attempt) allocated(r *ice.CandidateRelay) (netip.AddrPort, allocation, error) {
	at, err := candidateAddr(r)
	if err != nil {
		return at, allocation{}, err
	}
	alloc, known := a.allocs[at]
	if !known {
		v := call.Via(r.RelayProtocol())
		alloc = allocation{v, a.relay.handOver(relaySocket{v != call.ViaUDP, r.RelatedAddress().Port})}
		a.allocs[at] = alloc
	}
	return at, alloc, nil
}

// findReflexive reports the public addresses of the socket.
func (a *Attempt) findReflexive() {
	servers, err := a.paths.stunAddrs(a.ctx, a.cfg.Servers, maxProbed)
	if err != nil {
		return // impossible: NewAttempt has accepted the URLs
	}
	reported := make(map[netip.AddrPort]bool)
	for _, h := range a.local.Hosts {
		reported[h] = true
	}
	found := make(chan netip.AddrPort)
	for _, s := range servers {
		go func() {
			seen, err := a.paths.mux.query(a.ctx, s)
			if err != nil {
				a.paths.log.Debug("no public address from a STUN server", "server", s, "err", err)
			}
			found <- seen
		}()
	}
	preference := uint32(preferFirst)
	for range servers {
		seen := <-found
		if !seen.IsValid() || reported[seen] {
			continue
		}
		reported[seen] = true
		a.report(call.Candidate{
			Type: call.ReflexiveCandidate, Addr: seen, Priority: priority(call.ReflexiveCandidate, preference),
		})
		preference--
	}
}

// report calls OnLocal unless the attempt is closed.
func (a *Attempt) report(c call.Candidate) {
	a.reporting.Lock()
	defer a.reporting.Unlock()
	if a.cfg.OnLocal != nil && a.ctx.Err() == nil {
		a.cfg.OnLocal(c)
	}
}

// Connect runs checks until a pair that works in both directions is selected. It
// gives up after 20 s or when ctx ends. It must be called once. Its error is an
// [*Error].
func (a *Attempt) Connect(ctx context.Context, peer call.Description) (Result, error) {
	if err := peer.Check(); err != nil {
		return Result{}, a.failure(call.NAT{}, err)
	}
	a.mu.Lock()
	if a.peer != nil {
		a.mu.Unlock()
		return Result{}, a.failure(peer.NAT, errors.New("Connect was called before"))
	}
	early := slices.Collect(maps.Values(a.remotes))
	a.peer = &peer
	for _, c := range early {
		if err := a.check(c); err != nil {
			a.paths.log.Debug("cannot use a candidate of the peer", "err", err)
		}
	}
	a.mu.Unlock()
	for _, c := range knownCandidates(peer) {
		if err := a.AddRemote(c); err != nil {
			a.paths.log.Debug("cannot use an address of the peer", "err", err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, errTimeout)
	defer cancel()
	stop := context.AfterFunc(a.ctx, cancel)
	defer stop()
	connect := a.agent.Accept
	if a.cfg.Controlling {
		connect = a.agent.Dial
	}
	conn, err := connect(ctx, peer.Ufrag, peer.Pwd)
	switch {
	case a.ctx.Err() != nil:
		err = errClosed
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if err != nil {
		return Result{}, a.failure(peer.NAT, err)
	}
	r, err := a.result(conn)
	if err != nil {
		return Result{}, a.failure(peer.NAT, err)
	}
	return r, nil
}

// knownCandidates returns the candidates that follow from a peer's description:
// its host addresses and the public address that its last Probe found. The peer
// usually finds the same public address again, and the checks need not wait for
// that. If its NAT uses another address now, both are checked.
func knownCandidates(peer call.Description) []call.Candidate {
	var all []call.Candidate
	for i, h := range peer.Hosts {
		all = append(all, call.Candidate{
			Type: call.HostCandidate, Addr: h, Priority: priority(call.HostCandidate, preferFirst-uint32(i)),
		})
	}
	public := call.Candidate{
		Type: call.ReflexiveCandidate, Addr: peer.NAT.Public,
		Priority: priority(call.ReflexiveCandidate, preferFirst),
	}
	if peer.NAT.Mapping == call.MappingIndependent && public.Check() == nil {
		all = append(all, public)
	}
	return all
}

// onStateChange ends the relayed connection if its pair has not answered for 30 s.
// The ICE agent releases its allocation then.
func (a *Attempt) onStateChange(s ice.ConnectionState) {
	if s != ice.ConnectionStateFailed {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.relayed != nil {
		a.relayed.end()
	}
}

// Close ends the attempt, its allocations and its relayed connection, and waits for
// its goroutines. It may be called again. A path that is relayed for either peer
// needs the attempt until its link ends. A direct path needs it until packets of
// the link have arrived, because the peer has then selected the path too.
func (a *Attempt) Close() {
	a.once.Do(func() {
		a.mu.Lock()
		a.cancel(errClosed) // with mu held, so that AddRemote starts no goroutine later
		relayed := a.relayed
		a.mu.Unlock()
		a.relay.abort()
		if relayed != nil {
			relayed.end()
		}
		if err := a.agent.GracefulClose(); err != nil {
			a.paths.log.Debug("cannot close the ICE agent", "err", err)
		}
		if relayed != nil {
			relayed.wait()
		}
		a.paths.mu.Lock()
		delete(a.paths.attempts, a)
		a.paths.mu.Unlock()
	})
	a.wg.Wait()
}
