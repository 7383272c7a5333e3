package presence

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// LinkStore keeps the link reports of peers. A report counts while the
// connection on which the peer sent it is the peer's presence.
type LinkStore interface {
	// PutLinkReports records reports of peers that are connected to the holder,
	// at most registry.MaxBatch; a report of kind LinkNone removes a row.
	// Errors: ErrFenced; then nothing is written.
	PutLinkReports(ctx context.Context, h Holder, now time.Time, reports []LinkReport) error
	// Pairs returns pairs of peers that have a link, in the order of their IDs.
	// If both peers have reported, the later report counts.
	Pairs(ctx context.Context, q PairQuery, now time.Time) ([]Pair, error)
	// CountPairs counts the pairs by the epoch of the connection whose report
	// counts. It reads every row.
	CountPairs(ctx context.Context, now time.Time) (map[int64]PairCount, error)
}

// LinkReport is a peer's report of its link to another peer.
type LinkReport struct {
	From      ident.PeerID // the reporting peer
	Connected time.Time    // beginning of the connection on which the report arrived
	To        ident.PeerID
	Kind      LinkKind
	Transport Transport
	RTT       time.Duration // 0 if not measured
	Since     time.Time     // since when the link has this kind and transport
}

// Ends returns the two peers, the one with the lower ID first.
func (r LinkReport) Ends() (low, high ident.PeerID) {
	if r.From.Compare(r.To) < 0 {
		return r.From, r.To
	}
	return r.To, r.From
}

// LinkKind is the kind of path of a link, Transport the protocol below it. The
// numbers are those of signal.LinkReport.
type (
	LinkKind  uint8
	Transport uint8
)

// The kinds.
const (
	LinkNone LinkKind = iota
	LinkLAN
	LinkDirect
	LinkRelayed
)

var (
	linkKinds  = []string{"none", "lan", "direct", "relayed"}
	transports = []string{"none", "udp", "tcp", "tls"}
)

// String returns the kind's name in the REST interface.
func (k LinkKind) String() string { return linkKinds[min(int(k), len(linkKinds)-1)] }

// String returns the transport's name in the REST interface.
func (t Transport) String() string { return transports[min(int(t), len(transports)-1)] }

// PairQuery selects pairs.
type PairQuery struct {
	After   [2]ident.PeerID // only pairs after this one; zero selects all
	Limit   int             // at least 1
	Peer    ident.PeerID    // only pairs of this peer; zero selects all
	Relayed *bool           // only pairs that are relayed, or only others; nil selects all
}

// Pair is two peers that have a link, the one with the lower ID first.
type Pair struct {
	Peers     [2]ident.PeerID
	Names     [2]string // "" for a peer that is not registered
	Kind      LinkKind
	Transport Transport
	RTT       time.Duration
	Since     time.Time
}

// PairCount is a number of pairs.
type PairCount struct {
	Direct  int // including those on the same network
	Relayed int
}

// PairStore is the part of [LinkStore] that reads pairs.
type PairStore interface {
	Pairs(ctx context.Context, q PairQuery, now time.Time) ([]Pair, error)
	CountPairs(ctx context.Context, now time.Time) (map[int64]PairCount, error)
}

// Links reads the links between peers.
type Links struct {
	store PairStore
	now   func() time.Time
}

// NewLinks returns the links of a store. A nil now is time.Now.
func NewLinks(store PairStore, now func() time.Time) *Links {
	return &Links{store: store, now: registry.Clock(now)}
}

// Pairs returns pairs of peers that have a link, in the order of their IDs.
func (l *Links) Pairs(ctx context.Context, q PairQuery) ([]Pair, error) {
	return l.store.Pairs(ctx, q, l.now())
}

// CountPairs counts all pairs.
func (l *Links) CountPairs(ctx context.Context) (PairCount, error) {
	var all PairCount
	counts, err := l.store.CountPairs(ctx, l.now())
	for _, n := range counts {
		all.Direct += n.Direct
		all.Relayed += n.Relayed
	}
	return all, err
}
