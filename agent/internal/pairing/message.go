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

// Bounds of received messages. They are checked before a message is used.
const (
	MaxMessage   = 4 << 10 // bytes of one message of a try
	MaxName      = 64      // bytes of a peer's name
	MaxAddresses = 8       // direct addresses of a peer
	MaxAddress   = 256     // bytes of one direct address

	version = 1 // of the protocol
)

// errMessage is returned for messages that violate the protocol.
var errMessage = errors.New("malformed pairing message")

// openingMessage is the client's first message.
type openingMessage struct {
	Version int    `json:"version"`
	Share   []byte `json:"share"` // Ya
	Key     []byte `json:"key"`   // the client's Ed25519 public key
}

// answerMessage is the host's message.
type answerMessage struct {
	Share []byte `json:"share"` // Yb
	Key   []byte `json:"key"`   // the host's Ed25519 public key
	Tag   []byte `json:"tag"`
	Card  []byte `json:"card"` // encrypted, see seal
	// Left is the number of tries that remain after this one. It is not
	// authenticated and serves only for the error message for a wrong PIN.
	Left int `json:"left"`
}

// confirmationMessage is the client's second message. A client that does not
// accept the answer sends it empty, so that the host does not have to wait.
type confirmationMessage struct {
	Tag  []byte `json:"tag,omitempty"`
	Card []byte `json:"card,omitempty"` // encrypted, see seal
}

// card describes a peer. Each peer sends it to the other.
type card struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses,omitempty"`
}

func (o openingMessage) check() error {
	if o.Version != version {
		return fmt.Errorf("%w: version %d, want %d: update EasyFind on both machines", errMessage, o.Version, version)
	}
	return checkKeys(o.Share, o.Key)
}

func (a answerMessage) check() error {
	if len(a.Tag) != cpace.TagSize || a.Left < 0 || a.Left >= MaxTries {
		return fmt.Errorf("%w: tag of %d bytes, %d tries left", errMessage, len(a.Tag), a.Left)
	}
	return checkKeys(a.Share, a.Key)
}

func (c confirmationMessage) check() error {
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
		return fmt.Errorf("%w: %d addresses, limit %d", errMessage, len(c.Addresses), MaxAddresses)
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
// printable UTF-8. Other text could control the terminal that shows it.
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

// decode decodes a message of at most MaxMessage bytes. It fails if the message
// has unknown fields, if anything follows it, or if its check fails.
func decode[M interface{ check() error }](raw []byte) (M, error) {
	var m M
	if len(raw) > MaxMessage {
		return m, fmt.Errorf("%w: %d bytes, limit %d", errMessage, len(raw), MaxMessage)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: %w", errMessage, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("%w: more data after it", errMessage)
	}
	return m, m.check()
}

// encode encodes a message. It fails if that has more than MaxMessage bytes.
func encode(m any) ([]byte, error) {
	raw, err := json.Marshal(m)
	if err == nil && len(raw) > MaxMessage {
		err = fmt.Errorf("%d bytes, limit %d", len(raw), MaxMessage)
	}
	if err != nil {
		return nil, fmt.Errorf("pairing message: %w", err)
	}
	return raw, nil
}
