package call

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds, in bytes of JSON or in elements.
const (
	MaxDescription = 4096 // of a Description in bytes
	MaxCandidate   = 256  // of a Candidate in bytes
	MaxHosts       = 16   // addresses in a Description
	MaxRemote      = 32   // addresses of one peer that the other peer tries in total
)

// The lengths of ICE credentials in characters of 6 bits (RFC 8839 section 5.4).
// They have at least 24 and 128 bits.
const (
	minUfrag, maxUfrag = 4, 32
	minPwd, maxPwd     = 22, 64
)

// ErrMalformed is the error of a message that a peer must not send.
var ErrMalformed = errors.New("malformed message of a call")

// Description describes a peer to the other one, which needs it to begin: the
// credentials of the checks, the addresses of the machine and the known properties
// of its NAT. It travels in envelopes that the sender has signed. The rendezvous
// can read it. That gives the rendezvous no access to a link, because the peers'
// keys authenticate a link and the description does not.
type Description struct {
	Ufrag string           `json:"ufrag"`
	Pwd   string           `json:"pwd"`
	Hosts []netip.AddrPort `json:"hosts,omitempty"` // at most MaxHosts
	NAT   NAT              `json:"nat"`
}

// UnmarshalJSON decodes and checks a Description. It ignores unknown fields.
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

// Check returns an error that wraps [ErrMalformed] if a field is not valid.
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

// iceChars reports whether s consists of minimum to maximum ice-chars (RFC 8839
// section 5.1).
func iceChars(s string, minimum, maximum int) bool {
	return len(s) >= minimum && len(s) <= maximum && strings.Trim(s, iceAlphabet) == ""
}

const iceAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// CandidateType is the type of a candidate (RFC 8445 section 4).
type CandidateType string

// The candidate types that peers send. A peer-reflexive address is learned from a
// check and never sent.
const (
	HostCandidate      CandidateType = "host"
	ReflexiveCandidate CandidateType = "srflx"
	RelayCandidate     CandidateType = "relay"
)

// Candidate is an address at which a peer may be reachable.
type Candidate struct {
	Type     CandidateType  `json:"type"`
	Addr     netip.AddrPort `json:"addr"`
	Priority uint32         `json:"priority"`      // RFC 8445 section 5.1.2
	Via      Via            `json:"via,omitempty"` // only of a relay candidate
}

// Via is the transport between a peer and its TURN server.
type Via string

// The transports to a TURN server.
const (
	ViaUDP Via = "udp"
	ViaTCP Via = "tcp"
	ViaTLS Via = "tls"
)

// UnmarshalJSON decodes and checks a Candidate. It ignores unknown fields.
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

// Check returns an error that wraps [ErrMalformed] if a field is not valid.
func (c Candidate) Check() error {
	relayed := c.Type == RelayCandidate
	switch {
	case !relayed && c.Type != HostCandidate && c.Type != ReflexiveCandidate:
		return fmt.Errorf("%w: the candidate's type", ErrMalformed)
	case relayed != slices.Contains([]Via{ViaUDP, ViaTCP, ViaTLS}, c.Via):
		return fmt.Errorf("%w: the transport to the candidate's relay", ErrMalformed)
	case c.Priority == 0 || c.Priority > 1<<31-1:
		return fmt.Errorf("%w: the candidate's priority", ErrMalformed)
	}
	return nil
}
