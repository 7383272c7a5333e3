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
	MaxAddress = 256      // bytes of one
	idChars    = 16       // of a call's name
)

// Kind says what a message is.
type Kind string

// The kinds.
const (
	KindOffer     Kind = "offer"     // begins a call
	KindAnswer    Kind = "answer"    // accepts it
	KindCandidate Kind = "candidate" // an address found since, from either end
	KindBusy      Kind = "busy"      // refuses it: the receiver has a call of its own under way, which wins
)

// Message is one message of a call; see the package comment.
type Message struct {
	Kind        Kind         `json:"kind"`
	Call        string       `json:"call"` // 16 hexadecimal digits
	Description *Description `json:"description,omitempty"`
	Candidate   *Candidate   `json:"candidate,omitempty"`
	// Direct are addresses at which the sender takes links without ICE.
	Direct []string `json:"direct,omitempty"`
	// Upgrade asks for a direct path only: a relayed one is in use already.
	Upgrade bool `json:"upgrade,omitempty"`
}

// Encode returns the message as JSON.
func (m Message) Encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("message to the peer: %w", err)
	}
	return body, nil
}

// Decode reads and checks a message; unknown fields are ignored.
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
		return Message{}, fmt.Errorf("%w: something follows it", ErrMalformed)
	}
	return m, m.check()
}

func (m Message) check() error {
	if raw, err := hex.DecodeString(m.Call); err != nil || len(raw) != idChars/2 {
		return fmt.Errorf("%w: the call's name", ErrMalformed)
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
		KindCandidate: m.Candidate != nil, KindBusy: true,
	}[m.Kind]
	if !ok {
		return fmt.Errorf("%w: kind %.16q or what it needs", ErrMalformed, string(m.Kind))
	}
	return nil
}

// NewID draws the name of a call.
func NewID() string {
	b := make([]byte, idChars/2)
	rand.Read(b)
	return hex.EncodeToString(b)
}
