package api

import "time"

// The bounds of what travels. The numbers stand again in the tags of the
// resources, from which the OpenAPI document is made; a test holds them equal.
const (
	MaxBody         = 16 << 10 // bytes of a request
	MaxName         = 64       // characters of a peer's or a server's name, all printable
	MaxLabel        = 128      // characters of the label of an invite or of an administrator's token
	MaxInvite       = 64       // characters of an invite's code
	MaxToken        = 128      // characters of a token
	MaxChallenge    = 64       // bytes of a challenge
	MaxMessage      = 4096     // bytes of one message of a pairing
	MaxMessageText  = 5464     // the same in base64
	MaxAllowed      = 1024     // peers that a peer may allow
	MaxTries        = 3        // tries of one mailbox
	MaxInviteUses   = 1_000_000
	MaxPage         = 100 // items of a page
	MaxIdempotency  = 64  // characters of an Idempotency-Key
	MaxServers      = 16  // STUN or relay URIs of a server
	MaxURI          = 256 // characters of each
	ExporterBytes   = 32  // bytes of the TLS exporter in a bound registration
	MaxWait         = 25 * time.Second
	MaxInviteTTL    = 365 * 24 * time.Hour
	MaxTokenTTL     = 365 * 24 * time.Hour
	MailboxTTL      = 10 * time.Minute
	MaxChallengeTTL = 2 * time.Minute
)

// SignalALPN is the TLS protocol name of signalling connections (RFC 7301).
const SignalALPN = "easyfind/1"

// PathSignal is where signalling is spoken in a WebSocket.
const PathSignal = "/v1/signal"
