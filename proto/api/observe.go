package api

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Pair is two peers that have a link. The data come from the latest report of either
// peer: whether the link uses a relay, and its transport. Peers report no addresses.
type Pair struct {
	Peer      ident.PeerID `json:"peer" maxLength:"63" doc:"the peer with the lower ID"`
	Name      string       `json:"name,omitempty" maxLength:"64" doc:"absent if the peer is not registered any more"`
	Other     ident.PeerID `json:"other" maxLength:"63"`
	OtherName string       `json:"other_name,omitempty" maxLength:"64"`
	Path      string       `json:"path" maxLength:"8" enum:"lan,direct,relayed" doc:"lan: between private addresses"`
	Transport string       `json:"transport" maxLength:"4" enum:"udp,tcp,tls" doc:"of a relayed link: to the relay"`
	RTTMillis int          `json:"rtt_ms,omitempty" minimum:"0" maximum:"65535" doc:"round trip; absent if unknown"`
	Since     time.Time    `json:"since" doc:"since when the link is of that kind"`
}

// Pairs is a page of the pairs that have a link now, ordered by their IDs.
type Pairs struct {
	Pairs []Pair `json:"pairs" maxItems:"100"`
	Next  string `json:"next,omitempty" maxLength:"128" doc:"the parameter after of the next page"`
}

// HistoryPoint holds the figures of all instances together in one span of time. Peers
// and pairs are measured at the end of each minute; their figures are the maxima of the
// span. The other figures are totals.
type HistoryPoint struct {
	At            time.Time `json:"at" doc:"the beginning of the span"`
	Peers         int       `json:"peers" minimum:"0" maximum:"2147483647" doc:"connected peers, maximum"`
	PairsDirect   int       `json:"pairs_direct" minimum:"0" maximum:"2147483647" doc:"with a direct link, maximum"`
	PairsRelayed  int       `json:"pairs_relayed" minimum:"0" maximum:"2147483647" doc:"with a relayed link, maximum"`
	RelayBytes    int64     `json:"relay_bytes" minimum:"0" maximum:"9007199254740991" doc:"relayed in both directions"`
	RelayPackets  int64     `json:"relay_packets" minimum:"0" maximum:"9007199254740991"`
	Registrations int64     `json:"registrations" minimum:"0" maximum:"9007199254740991" doc:"of new peers"`
	Refusals      int64     `json:"refusals" minimum:"0" maximum:"9007199254740991"`
}

// History holds the figures of the last hours, oldest first. It omits spans in which no
// instance ran.
type History struct {
	Seconds int            `json:"seconds" minimum:"60" maximum:"3600" doc:"the length of each span"`
	Points  []HistoryPoint `json:"points" maxItems:"10081"`
}

// PeerRelayUse is one peer's use of the relay. Bytes count the payload of the relayed
// packets.
type PeerRelayUse struct {
	Peer            ident.PeerID `json:"peer" maxLength:"63"`
	Name            string       `json:"name,omitempty" maxLength:"64" doc:"absent if not registered any more"`
	SentBytes       int64        `json:"sent_bytes" minimum:"0" maximum:"9007199254740991" doc:"by the peer"`
	SentPackets     int64        `json:"sent_packets" minimum:"0" maximum:"9007199254740991"`
	ReceivedBytes   int64        `json:"received_bytes" minimum:"0" maximum:"9007199254740991" doc:"by the peer"`
	ReceivedPackets int64        `json:"received_packets" minimum:"0" maximum:"9007199254740991"`
}

// RelayDay is the use of the relay on one day.
type RelayDay struct {
	Day             string `json:"day" maxLength:"10" doc:"in UTC"`
	SentBytes       int64  `json:"sent_bytes" minimum:"0" maximum:"9007199254740991"`
	SentPackets     int64  `json:"sent_packets" minimum:"0" maximum:"9007199254740991"`
	ReceivedBytes   int64  `json:"received_bytes" minimum:"0" maximum:"9007199254740991"`
	ReceivedPackets int64  `json:"received_packets" minimum:"0" maximum:"9007199254740991"`
}

// RelayUse is the use of the relay in the last days, including today: the days on which
// it was used, and the peers that used it most. The figures are updated once a minute.
type RelayUse struct {
	Days  []RelayDay     `json:"days" maxItems:"90"`
	Peers []PeerRelayUse `json:"peers" maxItems:"100" doc:"most first; one if a peer was requested"`
}
