package registry

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// PathStore keeps what the links between peers are like, as the peers say. What
// a peer said on a connection counts while that is its presence.
type PathStore interface {
	// PutPaths says what links are like of peers that are connected at the
	// holder; a row of kind PathNone removes one. Errors: ErrFenced; then
	// nothing is written.
	PutPaths(ctx context.Context, h Holder, now time.Time, paths []Path) error
	// Pairs returns pairs of peers that have a link, in the order of their IDs,
	// each as whichever end said something last.
	Pairs(ctx context.Context, q PairQuery, now time.Time) ([]Pair, error)
	// CountPairs counts them by the epoch under which that end is connected. It
	// looks at every row.
	CountPairs(ctx context.Context, now time.Time) (map[int64]PairCount, error)
}

// HistoryStore keeps figures by the minute, and relayed bytes by the day.
type HistoryStore interface {
	// AddMinute keeps the figures of an instance's minute. Those of the same
	// minute once more are added to what is counted, and take the place of what
	// is measured.
	AddMinute(ctx context.Context, m Minute) error
	// History returns the minutes since from and before to of all instances,
	// in steps of whole minutes, without those of which there is none.
	History(ctx context.Context, from, to time.Time, step time.Duration) ([]Span, error)
	// LastMinutes returns the newest minute since a moment of each instance.
	LastMinutes(ctx context.Context, since time.Time) (map[string]Minute, error)
	// AddRelayUse adds to what peers have relayed on a day, at most MaxBatch
	// peers, each once.
	AddRelayUse(ctx context.Context, day Day, uses []RelayUse) error
	// RelayUse returns who relayed most, most first.
	RelayUse(ctx context.Context, q RelayQuery) ([]RelayUse, error)
	// RelayDays returns what was relayed on each day since one, by a peer or,
	// for the zero ID, by all together.
	RelayDays(ctx context.Context, since Day, peer ident.PeerID) ([]RelayDay, error)
}

// Path is what a peer says of its link to another.
type Path struct {
	From      ident.PeerID // who says it
	Session   time.Time    // since when the connection stands on which it was said
	To        ident.PeerID
	Kind      PathKind
	Transport Transport
	RTT       time.Duration // 0 if not measured
	Since     time.Time     // since when the link is of that kind
}

// Ends are the two peers, the one with the lower ID first.
func (p Path) Ends() (low, high ident.PeerID) {
	if p.From.Compare(p.To) < 0 {
		return p.From, p.To
	}
	return p.To, p.From
}

// PathKind is what way a link takes, Transport what carries it; the numbers are
// those of signal.LinkReport.
type (
	PathKind  uint8
	Transport uint8
)

// The kinds.
const (
	PathNone PathKind = iota
	PathLAN
	PathDirect
	PathRelayed
)

var (
	pathKinds  = []string{"none", "lan", "direct", "relayed"}
	transports = []string{"none", "udp", "tcp", "tls"}
)

// String is the kind as the REST interface has it.
func (k PathKind) String() string { return pathKinds[min(int(k), len(pathKinds)-1)] }

// String is the transport as the REST interface has it.
func (t Transport) String() string { return transports[min(int(t), len(transports)-1)] }

// PairQuery asks for some of the pairs.
type PairQuery struct {
	After [2]ident.PeerID // only pairs behind this one; zero is all
	Limit int             // at least 1
	Peer  ident.PeerID    // only its pairs; zero is all
	// Relayed asks for only those that are relayed, or that are not; nil is all.
	Relayed *bool
}

// Pair is two peers that have a link, the one with the lower ID first.
type Pair struct {
	Peers     [2]ident.PeerID
	Names     [2]string // "" of a peer that is not registered here
	Kind      PathKind
	Transport Transport
	RTT       time.Duration
	Since     time.Time
}

// PairCount is how many pairs have a link.
type PairCount struct {
	Direct  int // on the same network too
	Relayed int
}

// Minute is what one instance saw in a minute. What is measured is so at its
// end.
type Minute struct {
	At            time.Time // when it began
	Instance      string
	Peers         int // measured
	Pairs         PairCount
	RelayBytes    int64 // counted, in both directions
	RelayPackets  int64
	Registrations int64 // of new peers
	Refusals      int64
}

// Span is the minutes of all instances in a span of time: of what was measured
// the most, of what was counted all.
type Span struct {
	At            time.Time // when it began
	Peers         int
	Pairs         PairCount
	RelayBytes    int64
	RelayPackets  int64
	Registrations int64
	Refusals      int64
}

// Day is a day in UTC, counted from 1970.
type Day int64

// DayOf is the day of a moment.
func DayOf(t time.Time) Day { return Day(t.Unix() / 86400) }

// Time is when the day begins.
func (d Day) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// RelayQuery asks who relayed most.
type RelayQuery struct {
	Since Day
	Limit int // at least 1
}

// RelayUse is what one peer has had relayed. Bytes are those of the relayed
// packets themselves.
type RelayUse struct {
	Peer            ident.PeerID
	Name            string // "" of a peer that is not registered any more; AddRelayUse does not look at it
	SentBytes       int64  // by the peer, through the relay
	SentPackets     int64
	ReceivedBytes   int64 // by the peer, from the relay
	ReceivedPackets int64
}

// Bytes is those of both directions.
func (u RelayUse) Bytes() int64 { return u.SentBytes + u.ReceivedBytes }

// RelayDay is what was relayed on one day.
type RelayDay struct {
	Day             Day
	SentBytes       int64
	SentPackets     int64
	ReceivedBytes   int64
	ReceivedPackets int64
}

// How long a Store keeps these, until Sweep removes them.
const (
	HistoryKept  = 7 * 24 * time.Hour
	RelayUseKept = 90 // days
)
