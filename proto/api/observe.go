package api

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Pair is two peers that have a link, as whichever of them said something last.
// Only whether packets take a relay and what carries them is known here, no
// address.
type Pair struct {
	Peer      ident.PeerID `json:"peer" maxLength:"63" doc:"the one with the lower ID" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Name      string       `json:"name,omitempty" maxLength:"64" doc:"absent if it is not registered any more" example:"Workshop PC"`
	Other     ident.PeerID `json:"other" maxLength:"63" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	OtherName string       `json:"other_name,omitempty" maxLength:"64" example:"Laptop"`
	Path      string       `json:"path" maxLength:"8" enum:"lan,direct,relayed" doc:"lan is between private addresses" example:"direct"`
	Transport string       `json:"transport" maxLength:"4" enum:"udp,tcp,tls" doc:"on a relayed path as far as the relay" example:"udp"`
	RTTMillis int          `json:"rtt_ms,omitempty" minimum:"0" maximum:"65535" doc:"round trip when that was said, in milliseconds; absent if not measured" example:"23"`
	Since     time.Time    `json:"since" doc:"since when the link is of that kind" example:"2026-03-01T12:00:00Z"`
}

// Pairs is a page of the pairs that have a link now, ordered by their IDs.
type Pairs struct {
	Pairs []Pair `json:"pairs" nullable:"false" maxItems:"100"`
	Next  string `json:"next,omitempty" maxLength:"128" doc:"after of the next page; absent on the last" example:"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`
}

// HistoryPoint is what all instances together saw in a span of time: of what is
// measured at the end of each minute the most, of what is counted all.
type HistoryPoint struct {
	At            time.Time `json:"at" doc:"when the span began" example:"2026-03-01T12:00:00Z"`
	Peers         int       `json:"peers" minimum:"0" maximum:"2147483647" doc:"connected, the most" example:"204"`
	PairsDirect   int       `json:"pairs_direct" minimum:"0" maximum:"2147483647" doc:"with a link that is not relayed, the most" example:"61"`
	PairsRelayed  int       `json:"pairs_relayed" minimum:"0" maximum:"2147483647" doc:"with a relayed link, the most" example:"7"`
	RelayBytes    int64     `json:"relay_bytes" minimum:"0" maximum:"9007199254740991" doc:"relayed in both directions" example:"1048576"`
	RelayPackets  int64     `json:"relay_packets" minimum:"0" maximum:"9007199254740991" example:"900"`
	Registrations int64     `json:"registrations" minimum:"0" maximum:"9007199254740991" doc:"of new peers" example:"2"`
	Refusals      int64     `json:"refusals" minimum:"0" maximum:"9007199254740991" example:"0"`
}

// History is the figures of the last hours, the oldest first. A span in which no
// instance ran is left out.
type History struct {
	Seconds int            `json:"seconds" minimum:"60" maximum:"3600" doc:"how long each span is" example:"300"`
	Points  []HistoryPoint `json:"points" nullable:"false" maxItems:"10081"`
}

// PeerRelayUse is what one peer has had relayed. Bytes are those of the relayed
// packets themselves.
type PeerRelayUse struct {
	Peer            ident.PeerID `json:"peer" maxLength:"63" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Name            string       `json:"name,omitempty" maxLength:"64" doc:"absent if it is not registered any more" example:"Workshop PC"`
	SentBytes       int64        `json:"sent_bytes" minimum:"0" maximum:"9007199254740991" doc:"by the peer, through the relay" example:"1048576"`
	SentPackets     int64        `json:"sent_packets" minimum:"0" maximum:"9007199254740991" example:"900"`
	ReceivedBytes   int64        `json:"received_bytes" minimum:"0" maximum:"9007199254740991" doc:"by the peer, from the relay" example:"65536"`
	ReceivedPackets int64        `json:"received_packets" minimum:"0" maximum:"9007199254740991" example:"850"`
}

// RelayDay is what was relayed on one day.
type RelayDay struct {
	Day             string `json:"day" maxLength:"10" doc:"in UTC" example:"2026-03-01"`
	SentBytes       int64  `json:"sent_bytes" minimum:"0" maximum:"9007199254740991" example:"1048576"`
	SentPackets     int64  `json:"sent_packets" minimum:"0" maximum:"9007199254740991" example:"900"`
	ReceivedBytes   int64  `json:"received_bytes" minimum:"0" maximum:"9007199254740991" example:"65536"`
	ReceivedPackets int64  `json:"received_packets" minimum:"0" maximum:"9007199254740991" example:"850"`
}

// RelayUse is what was relayed in the last days, today included: each day on
// which anything was, and who used most of it. What the last minute adds comes
// with the next.
type RelayUse struct {
	Days  []RelayDay     `json:"days" nullable:"false" maxItems:"90"`
	Peers []PeerRelayUse `json:"peers" nullable:"false" maxItems:"100" doc:"most first; only the peer that was asked for, if one was"`
}
