package peer

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/path"
)

// Bounds of what the peer tells through the rendezvous.
const (
	maxMessage = 16 << 10 // bytes
	maxDirect  = 8        // addresses in one message
	maxAddress = 256      // bytes of one
	callChars  = 16       // of a call's name
)

// kind says what a message is.
type kind string

const (
	kindOffer     kind = "offer"     // begins a call
	kindAnswer    kind = "answer"    // accepts it
	kindCandidate kind = "candidate" // an address found since, from either end
	kindBusy      kind = "busy"      // refuses it: the receiver has a call of its own under way, which wins
)

// message is what two agents tell each other through the rendezvous, in sealed
// envelopes, to arrange a link:
//
//	caller                                       called
//	│ offer{call, description, direct, upgrade} ──►│
//	│◄────────── answer{call, description, direct} │  or busy
//	│ candidate{call} ────────────────────────────►│  as they are found
//	│◄──────────────────────────── candidate{call} │
//	│        ... checks, then the caller dials ... │
//
// Where both call at once, the call of the peer with the lower ID goes on and
// the other is dropped.
type message struct {
	Kind        kind              `json:"kind"`
	Call        string            `json:"call"` // 16 hexadecimal digits
	Description *path.Description `json:"description,omitempty"`
	Candidate   *path.Candidate   `json:"candidate,omitempty"`
	// Direct are addresses at which the sender takes links without ICE.
	Direct []string `json:"direct,omitempty"`
	// Upgrade asks for a direct path only: a relayed one is in use already.
	Upgrade bool `json:"upgrade,omitempty"`
}

var errMessage = errors.New("not a valid message from the peer")

func (m message) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("message to the peer: %w", err)
	}
	return body, nil
}

func decodeMessage(body []byte) (message, error) {
	var m message
	if len(body) > maxMessage {
		return m, fmt.Errorf("%w: %d bytes, at most %d", errMessage, len(body), maxMessage)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&m); err != nil {
		return message{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	if d.More() {
		return message{}, fmt.Errorf("%w: something follows it", errMessage)
	}
	return m, m.check()
}

func (m message) check() error {
	if raw, err := hex.DecodeString(m.Call); err != nil || len(raw) != callChars/2 {
		return fmt.Errorf("%w: the call's name", errMessage)
	}
	if len(m.Direct) > maxDirect {
		return fmt.Errorf("%w: %d addresses, at most %d", errMessage, len(m.Direct), maxDirect)
	}
	for _, a := range m.Direct {
		if len(a) > maxAddress {
			return fmt.Errorf("%w: an address of %d bytes, at most %d", errMessage, len(a), maxAddress)
		}
	}
	ok := map[kind]bool{
		kindOffer: m.Description != nil, kindAnswer: m.Description != nil,
		kindCandidate: m.Candidate != nil, kindBusy: true,
	}[m.Kind]
	if !ok {
		return fmt.Errorf("%w: kind %.16q or what it needs", errMessage, string(m.Kind))
	}
	return nil
}

// newCall draws the name of a call.
func newCall() string {
	b := make([]byte, callChars/2)
	rand.Read(b)
	return hex.EncodeToString(b)
}
