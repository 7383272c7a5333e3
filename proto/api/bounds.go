package api

import "time"

// Bounds of requests and answers. The tags of the resources repeat the numbers, and
// the OpenAPI document is made from the tags; a test compares the two.
const (
	MaxBody         = 16 << 10 // bytes of a request body
	MaxName         = 64       // characters of the name of a peer or a server, all printable
	MaxLabel        = 128      // characters of the label of an invite or of an administrator's token
	MaxInvite       = 64       // characters of the code of an invite
	MaxToken        = 128      // characters of a token
	MaxChallenge    = 64       // bytes of a challenge
	MaxMessage      = 4096     // bytes of one pairing message
	MaxMessageText  = 5464     // characters of one pairing message in base64
	MaxAllowed      = 1024     // peers that one peer may allow
	MaxTries        = 3        // tries of one mailbox
	MaxInviteUses   = 1_000_000
	MaxPage         = 100 // items of a page
	MaxIdempotency  = 64  // characters of an Idempotency-Key
	MaxServers      = 16  // STUN or TURN URIs of a server
	MaxURI          = 256 // characters of a URI
	ExporterBytes   = 32  // bytes of the TLS exporter in a bound registration
	MaxWait         = 25 * time.Second
	MaxInviteTTL    = 365 * 24 * time.Hour
	MaxTokenTTL     = 365 * 24 * time.Hour
	MailboxTTL      = 10 * time.Minute
	MaxChallengeTTL = 2 * time.Minute
)

// SignalALPN is the TLS protocol name of signalling connections (RFC 7301).
const SignalALPN = "easyfind/1"

// PathSignal is the URL path of signalling connections over WebSocket.
const PathSignal = "/v1/signal"
