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

// How the checks are made.
const (
	// checkEvery is how often every pair is checked until one is selected. A
	// tick is also the time until a pair that works is nominated.
	checkEvery = 100 * time.Millisecond
	// maxChecks of one pair: the peer may hear of us 5 s late, and the check
	// that opens our NAT for it may be lost; the library's own 7 are over by then.
	maxChecks = 200
	// relayWait is how long a relayed pair waits for a direct one.
	relayWait = time.Second
	// connectTimeout bounds Connect.
	connectTimeout = 20 * time.Second
)

// AttemptConfig configures one Attempt.
type AttemptConfig struct {
	// Controlling is true at exactly one end: the one that chooses the pair.
	Controlling bool
	Servers     []Server // at most 16 are used
	// OnLocal is told of every candidate to send to the peer as it is found,
	// one after the other; what the Description holds is not repeated. It must
	// not block for long nor call Close, and may be nil.
	OnLocal func(call.Candidate)
}

// Attempt is one run of ICE with one peer, from NewAttempt to Close.
type Attempt struct {
	paths *Paths
	cfg   AttemptConfig
	own   call.NAT // when it began
	local call.Description
	agent *ice.Agent
	relay *relayNet
	mux   *agentMux

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	once   sync.Once

	telling sync.Mutex // held while OnLocal runs

	mu      sync.Mutex // guards the rest
	remotes map[netip.AddrPort]call.Candidate
	peer    *call.Description // once Connect has been called
	// reflexiveAt is when the first reflexive candidate of the peer came, if
	// that was while Connect ran.
	reflexiveAt time.Time
	allocs      map[netip.AddrPort]allocation
	relayed     *relayedConn
}

// allocation is a relay candidate of our own.
type allocation struct {
	via    call.Via
	server string // IP address and port
}

var errClosed = errors.New("the attempt was closed")

// NewAttempt begins an Attempt: it allocates at the TURN servers and asks for
// the public address at once, so that OnLocal is called before Connect. Close
// must be called. Paths must be running for anything to be found.
func (p *Paths) NewAttempt(cfg AttemptConfig) (*Attempt, error) {
	own := p.NAT()
	uris, err := relayURIs(cfg.Servers, own)
	if err != nil {
		return nil, err
	}
	a := &Attempt{
		paths: p, cfg: cfg, own: own,
		// 52 characters of 5 bits; two texts of 26.
		local:   call.Description{Ufrag: rand.Text()[:16], Pwd: rand.Text(), Hosts: p.hosts(true), NAT: own},
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
	if closed { // Run has ended and does not know of this one
		a.Close()
		return nil, fmt.Errorf("ICE: %w", net.ErrClosed)
	}
	return a, nil
}

// start makes the agent and begins to gather.
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
		a.agent.OnCandidate(a.gathered),
		a.agent.OnConnectionStateChange(a.stateChanged),
		a.agent.GatherCandidates(),
	}
	if err := errors.Join(gathering...); err != nil {
		return errors.Join(err, a.agent.Close())
	}
	a.wg.Go(a.askReflexive)
	return nil
}

func (a *Attempt) agentConfig(uris []*stun.URI, families []ice.NetworkType) *ice.AgentConfig {
	var none time.Duration
	wait, interval, checks := relayWait, checkEvery, uint16(maxChecks)
	if a.own.UDPBlocked {
		wait = none // all we have is relayed
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

// bases chooses one address for each family as the base of all that is sent
// from the socket, and the agent's network types.
func bases(hosts []netip.AddrPort) (addrs []net.Addr, families []ice.NetworkType) {
	// A relayed candidate is IPv4 even where the socket has no such address.
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

// Local returns what to tell the peer before anything else.
func (a *Attempt) Local() call.Description { return a.local }

// gathered is the agent's report of a local candidate; nil ends gathering.
func (a *Attempt) gathered(c ice.Candidate) {
	r, ok := c.(*ice.CandidateRelay)
	if !ok {
		return
	}
	a.mu.Lock()
	at, alloc, err := a.allocated(r)
	a.mu.Unlock()
	if err != nil {
		a.paths.log.Debug("allocation not used", "error", err)
		return
	}
	a.tell(call.Candidate{Type: call.RelayCandidate, Addr: at, Priority: relayPriority(alloc.via), Via: alloc.via})
}

// allocated notes an allocation, once. The caller holds mu.
func (a *Attempt) allocated(r *ice.CandidateRelay) (netip.AddrPort, allocation, error) {
	at, err := candidateAddr(r)
	if err != nil {
		return at, allocation{}, err
	}
	alloc, known := a.allocs[at]
	if !known {
		v := call.Via(r.RelayProtocol())
		alloc = allocation{v, a.relay.allocated(relaySocket{v != call.ViaUDP, r.RelatedAddress().Port})}
		a.allocs[at] = alloc
	}
	return at, alloc, nil
}

// askReflexive finds the public addresses of the socket.
func (a *Attempt) askReflexive() {
	servers, err := a.paths.stunAddrs(a.ctx, a.cfg.Servers, maxProbed)
	if err != nil {
		return // of a URL that NewAttempt has accepted: cannot happen
	}
	told := make(map[netip.AddrPort]bool)
	for _, h := range a.local.Hosts {
		told[h] = true
	}
	found := make(chan netip.AddrPort)
	for _, s := range servers {
		go func() {
			seen, err := a.paths.mux.ask(a.ctx, s)
			if err != nil {
				a.paths.log.Debug("no public address from STUN server", "server", s, "error", err)
			}
			found <- seen
		}()
	}
	preference := uint32(preferFirst)
	for range servers {
		seen := <-found
		if !seen.IsValid() || told[seen] {
			continue
		}
		told[seen] = true
		a.tell(call.Candidate{Type: call.ReflexiveCandidate, Addr: seen, Priority: priority(call.ReflexiveCandidate, preference)})
		preference--
	}
}

func (a *Attempt) tell(c call.Candidate) {
	a.telling.Lock()
	defer a.telling.Unlock()
	if a.cfg.OnLocal != nil && a.ctx.Err() == nil {
		a.cfg.OnLocal(c)
	}
}

// Connect checks until a pair works in both directions and is selected, for
// 20 s or until ctx ends. It is called once. The error is an [*Error].
func (a *Attempt) Connect(ctx context.Context, peer call.Description) (Result, error) {
	if err := peer.Check(); err != nil {
		return Result{}, a.failure(call.NAT{}, err)
	}
	a.mu.Lock()
	if a.peer != nil {
		a.mu.Unlock()
		return Result{}, a.failure(peer.NAT, errors.New("connected already"))
	}
	early := slices.Collect(maps.Values(a.remotes))
	a.peer = &peer
	for _, c := range early {
		if err := a.check(c); err != nil {
			a.paths.log.Debug("candidate of the peer not used", "error", err)
		}
	}
	a.mu.Unlock()
	for i, h := range peer.Hosts {
		err := a.AddRemote(call.Candidate{Type: call.HostCandidate, Addr: h, Priority: priority(call.HostCandidate, preferFirst-uint32(i))})
		if err != nil {
			a.paths.log.Debug("address of the peer not used", "error", err)
		}
	}
	if c, ok := publicOf(peer); ok {
		if err := a.AddRemote(c); err != nil {
			a.paths.log.Debug("address of the peer not used", "error", err)
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

// publicOf is the address of the peer's socket in the internet as its last Probe
// saw it: the one that it is about to find anew, as a rule, so that checks need
// not wait for that. Where the NAT has chosen another one since, both are tried.
func publicOf(peer call.Description) (call.Candidate, bool) {
	c := call.Candidate{Type: call.ReflexiveCandidate, Addr: peer.NAT.Public, Priority: priority(call.ReflexiveCandidate, preferFirst)}
	return c, peer.NAT.Mapping == call.MappingIndependent && c.Check() == nil
}

// stateChanged ends a relayed conn whose pair has stopped to answer for 30 s:
// the agent lets go of its allocation then.
func (a *Attempt) stateChanged(s ice.ConnectionState) {
	if s != ice.ConnectionStateFailed {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.relayed != nil {
		a.relayed.end()
	}
}

// Close ends the Attempt, its allocations and its Relayed conn, and waits for
// what it started. A link over a path that is relayed at either end holds its
// Attempt open; one between the sockets themselves needs it no longer once
// packets of its own have come in, so that the other end is through as well.
// Closing twice is fine.
func (a *Attempt) Close() {
	a.once.Do(func() {
		a.mu.Lock()
		a.cancel(errClosed) // under mu: AddRemote starts nothing after it
		relayed := a.relayed
		a.mu.Unlock()
		a.relay.abort()
		if relayed != nil {
			relayed.end()
		}
		if err := a.agent.GracefulClose(); err != nil {
			a.paths.log.Debug("ICE agent closed", "error", err)
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
