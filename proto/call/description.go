package call

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of what peers tell each other, in bytes of JSON and in elements.
const (
	MaxDescription = 4096 // of a Description
	MaxCandidate   = 256  // of a Candidate
	MaxHosts       = 16   // addresses in a Description
	MaxRemote      = 32   // addresses of one peer that the other will try, all told
)

// The lengths of ICE credentials (RFC 8839 section 5.4): at least 24 and 128
// bits, at 6 bits for each character.
const (
	minUfrag, maxUfrag = 4, 32
	minPwd, maxPwd     = 22, 64
)

// ErrMalformed is the error of everything that a peer sent and that is not what
// it should be.
var ErrMalformed = errors.New("malformed message of a call")

// Description is what a peer needs to know before it can start: the
// credentials of the checks, the addresses of the machine itself and what is
// known of the NAT before it. It travels in envelopes that the sender has signed.
// The rendezvous can read it, which does not help it: a link is authenticated
// by the peers' keys and not by what was told here.
type Description struct {
	Ufrag string           `json:"ufrag"`
	Pwd   string           `json:"pwd"`
	Hosts []netip.AddrPort `json:"hosts,omitempty"` // at most MaxHosts
	NAT   NAT              `json:"nat"`
}

// UnmarshalJSON reads and checks a Description; unknown fields are ignored.
func (d *Description) UnmarshalJSON(b []byte) error {
	if len(b) > MaxDescription {
		return fmt.Errorf("%w: a description of %d bytes, at most %d are allowed", ErrMalformed, len(b), MaxDescription)
	}
	type plain Description
	var got plain
	if err := json.Unmarshal(b, &got); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := Description(got).Check(); err != nil {
		return err
	}
	*d = Description(got)
	return nil
}

// Check reports what is not as it should be.
func (d Description) Check() error {
	switch {
	case !iceChars(d.Ufrag, minUfrag, maxUfrag):
		return fmt.Errorf("%w: the user name fragment", ErrMalformed)
	case !iceChars(d.Pwd, minPwd, maxPwd):
		return fmt.Errorf("%w: the password", ErrMalformed)
	case len(d.Hosts) > MaxHosts:
		return fmt.Errorf("%w: %d host addresses, at most %d are allowed", ErrMalformed, len(d.Hosts), MaxHosts)
	case !d.NAT.Mapping.valid():
		return fmt.Errorf("%w: the kind of NAT", ErrMalformed)
	}
	return nil
}

// iceChars reports whether s is minimum to maximum ice-chars (RFC 8839
// section 5.1).
func iceChars(s string, minimum, maximum int) bool {
	return len(s) >= minimum && len(s) <= maximum && strings.Trim(s, iceAlphabet) == ""
}

const iceAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// CandidateType says where an address comes from.
type CandidateType string

// The candidate types (RFC 8445 section 4) that peers tell each other. A
// peer-reflexive address is learned from a check and never told.
const (
	HostCandidate      CandidateType = "host"
	ReflexiveCandidate CandidateType = "srflx"
	RelayCandidate     CandidateType = "relay"
)

// Candidate is one address at which a peer may be reached.
type Candidate struct {
	Type     CandidateType  `json:"type"`
	Addr     netip.AddrPort `json:"addr"`
	Priority uint32         `json:"priority"`      // RFC 8445 section 5.1.2
	Via      Via            `json:"via,omitempty"` // of a relay candidate
}

// Via says how a TURN server is reached by the peer that uses it.
type Via string

// The ways to a TURN server.
const (
	ViaUDP Via = "udp"
	ViaTCP Via = "tcp"
	ViaTLS Via = "tls"
)

// UnmarshalJSON reads and checks a Candidate; unknown fields are ignored.
func (c *Candidate) UnmarshalJSON(b []byte) error {
	if len(b) > MaxCandidate {
		return fmt.Errorf("%w: a candidate of %d bytes, at most %d are allowed", ErrMalformed, len(b), MaxCandidate)
	}
	type plain Candidate
	var got plain
	if err := json.Unmarshal(b, &got); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := Candidate(got).Check(); err != nil {
		return err
	}
	*c = Candidate(got)
	return nil
}

// Check reports what is not as it should be.
func (c Candidate) Check() error {
	relayed := c.Type == RelayCandidate
	switch {
	case !relayed && c.Type != HostCandidate && c.Type != ReflexiveCandidate:
		return fmt.Errorf("%w: the candidate's type", ErrMalformed)
	case relayed != slices.Contains([]Via{ViaUDP, ViaTCP, ViaTLS}, c.Via):
		return fmt.Errorf("%w: the way to the candidate's relay", ErrMalformed)
	case c.Priority == 0 || c.Priority > 1<<31-1:
		return fmt.Errorf("%w: the candidate's priority", ErrMalformed)
	}
	return nil
}
