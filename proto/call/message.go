package call

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Bounds of a Message.
const (
	MaxMessage = 16 << 10 // bytes of JSON
	MaxDirect  = 8        // direct addresses
	MaxAddress = 256      // bytes of a direct address
	idChars    = 16       // hexadecimal digits of a call's ID
)

// Kind is the kind of a message.
type Kind string

// The kinds.
const (
	KindOffer     Kind = "offer"     // begins a call
	KindAnswer    Kind = "answer"    // accepts the call
	KindCandidate Kind = "candidate" // an address that either peer has found since
	KindDial      Kind = "dial"      // asks the receiver to dial Direct, as the sender dials the receiver; no answer
	KindBusy      Kind = "busy"      // refuses the call, because the receiver's own call to the sender continues
)

// Message is one message of a call; see the package comment.
type Message struct {
	Kind        Kind         `json:"kind"`
	Call        string       `json:"call"` // 16 hexadecimal digits
	Description *Description `json:"description,omitempty"`
	Candidate   *Candidate   `json:"candidate,omitempty"`
	// Direct holds the addresses at which the sender accepts links without ICE.
	Direct []string `json:"direct,omitempty"`
	// Upgrade requests a direct path only, because a relayed one is in use.
	Upgrade bool `json:"upgrade,omitempty"`
}

// Encode returns the message as JSON.
func (m Message) Encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a message to the peer: %w", err)
	}
	return body, nil
}

// Decode decodes and checks a message. It ignores unknown fields.
func Decode(body []byte) (Message, error) {
	var m Message
	if len(body) > MaxMessage {
		return m, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(body), MaxMessage)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&m); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if d.More() {
		return Message{}, fmt.Errorf("%w: more bytes follow the message", ErrMalformed)
	}
	return m, m.check()
}

func (m Message) check() error {
	if raw, err := hex.DecodeString(m.Call); err != nil || len(raw) != idChars/2 {
		return fmt.Errorf("%w: the ID of the call", ErrMalformed)
	}
	if len(m.Direct) > MaxDirect {
		return fmt.Errorf("%w: %d addresses, at most %d", ErrMalformed, len(m.Direct), MaxDirect)
	}
	for _, a := range m.Direct {
		if len(a) > MaxAddress {
			return fmt.Errorf("%w: an address of %d bytes, at most %d", ErrMalformed, len(a), MaxAddress)
		}
	}
	ok := map[Kind]bool{
		KindOffer: m.Description != nil, KindAnswer: m.Description != nil,
		KindCandidate: m.Candidate != nil, KindBusy: true, KindDial: true,
	}[m.Kind]
	if !ok {
		return fmt.Errorf("%w: the kind %.16q is unknown or lacks a field", ErrMalformed, string(m.Kind))
	}
	return nil
}

// NewID returns a random ID for a call.
func NewID() string {
	b := make([]byte, idChars/2)
	rand.Read(b)
	return hex.EncodeToString(b)
}
