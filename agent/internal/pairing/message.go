package pairing

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/easyfind-usb/easyfind/agent/internal/pairing/cpace"
)

// Bounds, checked before anything is made of what came over the wire.
const (
	MaxMessage   = 4 << 10 // bytes of one message of a try
	MaxName      = 64      // bytes of a peer's name
	MaxAddresses = 8       // direct addresses of a peer
	MaxAddress   = 256     // bytes of one of them

	version = 1
)

// errMessage is the error of every message that no honest end sends.
var errMessage = errors.New("malformed pairing message")

// opening is the client's first message.
type opening struct {
	Version int    `json:"version"`
	Share   []byte `json:"share"` // Ya
	Key     []byte `json:"key"`   // the client's Ed25519 public key
}

// answer is the host's message.
type answer struct {
	Share []byte `json:"share"` // Yb
	Key   []byte `json:"key"`   // the host's Ed25519 public key
	Tag   []byte `json:"tag"`
	Card  []byte `json:"card"` // sealed
	// Left is how many tries remain after this one. Nothing protects it; it
	// serves for the sentence that a person with a wrong PIN reads.
	Left int `json:"left"`
}

// confirmation is the client's second message. A client that could not accept
// the answer sends it empty, so that the host need not wait for it.
type confirmation struct {
	Tag  []byte `json:"tag,omitempty"`
	Card []byte `json:"card,omitempty"` // sealed
}

// card is what an end tells the other about itself once both are proved.
type card struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses,omitempty"`
}

func (o opening) check() error {
	if o.Version != version {
		return fmt.Errorf("%w: version %d, want %d; bring EasyFind up to date on both sides", errMessage, o.Version, version)
	}
	return checkKeys(o.Share, o.Key)
}

func (a answer) check() error {
	if len(a.Tag) != cpace.TagSize || a.Left < 0 || a.Left >= MaxTries {
		return fmt.Errorf("%w: tag of %d bytes, %d tries left", errMessage, len(a.Tag), a.Left)
	}
	return checkKeys(a.Share, a.Key)
}

func (c confirmation) check() error {
	if n := len(c.Tag); n != cpace.TagSize && n != 0 {
		return fmt.Errorf("%w: tag of %d bytes", errMessage, n)
	}
	return nil
}

func (c card) check() error {
	if !ValidName(c.Name) {
		return fmt.Errorf("%w: the name is empty, too long or not printable", errMessage)
	}
	if len(c.Addresses) > MaxAddresses {
		return fmt.Errorf("%w: %d addresses, at most %d", errMessage, len(c.Addresses), MaxAddresses)
	}
	for _, a := range c.Addresses {
		if len(a) > MaxAddress || !printable(a) {
			return fmt.Errorf("%w: an address is too long or not printable", errMessage)
		}
	}
	return nil
}

func checkKeys(share, key []byte) error {
	if len(share) != cpace.ShareSize || len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: share of %d bytes, key of %d", errMessage, len(share), len(key))
	}
	return nil
}

// ValidName reports whether s can be a peer's name: 1 to MaxName bytes of
// printable text, so that it cannot play with the terminal it is shown on.
func ValidName(s string) bool { return s != "" && len(s) <= MaxName && printable(s) }

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// decode reads exactly one message: known fields only, nothing behind it.
func decode[M interface{ check() error }](raw []byte) (M, error) {
	var m M
	if len(raw) > MaxMessage {
		return m, fmt.Errorf("%w: %d bytes, at most %d", errMessage, len(raw), MaxMessage)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: %w", errMessage, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("%w: something follows it", errMessage)
	}
	return m, m.check()
}

// encode cannot fail for the types of this package.
func encode(m any) ([]byte, error) {
	raw, err := json.Marshal(m)
	if err == nil && len(raw) > MaxMessage {
		err = fmt.Errorf("%d bytes, at most %d", len(raw), MaxMessage)
	}
	if err != nil {
		return nil, fmt.Errorf("pairing message: %w", err)
	}
	return raw, nil
}
