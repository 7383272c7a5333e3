package state

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Bounds on the content of a state file.
const (
	MaxPeers     = 1024
	MaxShares    = 256
	MaxUses      = 64
	MaxAddresses = 16  // direct addresses of one peer
	MaxText      = 256 // bytes of a name, a selector or an address

	maxFile = 4 << 20 // bytes of state.json
	version = 1
)

// State holds everything except the key. Peers are sorted by name, shares and uses
// by device.
type State struct {
	Version int     `json:"version"`
	Peers   []Peer  `json:"peers"`
	Shares  []Share `json:"shares"`
	Uses    []Use   `json:"uses"`
}

// Peer is a peer that this agent is paired with.
type Peer struct {
	ID        ident.PeerID      `json:"id"`
	PublicKey ed25519.PublicKey `json:"public_key"`
	Name      string            `json:"name"` // unique in the state
	PairedAt  time.Time         `json:"paired_at"`
	// Addresses lists the direct addresses of the peer, which need no rendezvous:
	// "tls://host:7574", "tcp://host:7575".
	Addresses []string `json:"addresses,omitempty"`
	// Limit caps the rate of each direction, in bits per second; 0 is no limit.
	Limit uint64 `json:"limit,omitempty"`
}

// Share lets peers use a device of this machine.
type Share struct {
	// Device selects the device: a bus id ("2-1"), "vid:pid", or a serial number.
	Device string `json:"device"`
	// Peers lists the peers that may use the device. An empty list means every
	// paired peer, including those that are paired later.
	Peers []ident.PeerID `json:"peers,omitempty"`
	Force bool           `json:"force,omitempty"` // peers may take the device from this machine
	Until time.Time      `json:"until,omitzero"`  // zero: no end
}

// Allows reports whether the peer may use the device at the time now.
func (s Share) Allows(peer ident.PeerID, now time.Time) bool {
	return (s.Until.IsZero() || now.Before(s.Until)) && (len(s.Peers) == 0 || slices.Contains(s.Peers, peer))
}

// Mode names the way in which a remote device appears on this machine.
type Mode string

// The modes.
const (
	ModeVHCI     Mode = "vhci"     // attached to this kernel
	ModeEndpoint Mode = "endpoint" // offered on the loopback USB/IP server
)

// Use is a remote device that this machine uses, also after a restart.
type Use struct {
	Peer   ident.PeerID `json:"peer"`
	Device string       `json:"device"`
	Mode   Mode         `json:"mode"`
	// Expect is the SHA-256 of the descriptors of the device that the user agreed
	// to, in hexadecimal. A device with other descriptors is not attached, even if
	// it has the same id. Empty: any device is attached.
	Expect string `json:"expect,omitempty"`
	// NoAcceleration passes all URBs unchanged; see package stage.
	NoAcceleration bool `json:"no_acceleration,omitempty"`
	// WriteCache answers writes to a disk before the disk has the data; see package stage.
	WriteCache bool `json:"write_cache,omitempty"`
	// Limit caps the rate of each direction, in bits per second; 0 is no limit.
	Limit uint64 `json:"limit,omitempty"`
}

// Errors of changes that are refused.
var (
	ErrUnknownPeer = errors.New("no such peer: see \"easyfind peers\" for those this machine is paired with")
	ErrAmbiguous   = errors.New("more than one peer is meant: give more of its ID, or its whole name")
	ErrNotShared   = errors.New("this device is not shared: see \"easyfind devices\"")
	ErrNotUsed     = errors.New("no such use: see \"easyfind status\"")
	ErrFull        = errors.New("too many entries: remove some first")
)

// check returns an error if the state exceeds a bound or contradicts itself.
func (s *State) check() error {
	if s.Version != version {
		return fmt.Errorf("version %d, want %d", s.Version, version)
	}
	if len(s.Peers) > MaxPeers || len(s.Shares) > MaxShares || len(s.Uses) > MaxUses {
		return fmt.Errorf("%w: %d peers (at most %d), %d shares (%d), %d uses (%d)",
			ErrFull, len(s.Peers), MaxPeers, len(s.Shares), MaxShares, len(s.Uses), MaxUses)
	}
	ids, names := map[ident.PeerID]bool{}, map[string]bool{}
	for _, p := range s.Peers {
		if err := p.check(); err != nil {
			return err
		}
		if ids[p.ID] || names[p.Name] {
			return fmt.Errorf("peer %s %q is listed twice", p.ID.Short(), p.Name)
		}
		ids[p.ID], names[p.Name] = true, true
	}
	for _, sh := range s.Shares {
		if !text(sh.Device) || len(sh.Peers) > MaxPeers {
			return fmt.Errorf("share of %.64q: bad device, or more than %d peers", sh.Device, MaxPeers)
		}
	}
	for _, u := range s.Uses {
		if raw, err := hex.DecodeString(u.Expect); err != nil || len(raw) != 0 && len(raw) != sha256.Size {
			return fmt.Errorf("use of %.64q: \"expect\" is not a SHA-256 digest in hexadecimal", u.Device)
		}
		if !text(u.Device) || !ids[u.Peer] || u.Mode != ModeVHCI && u.Mode != ModeEndpoint {
			return fmt.Errorf("use of %.64q: bad device, unknown peer %s or bad mode %.16q",
				u.Device, u.Peer.Short(), u.Mode)
		}
	}
	return nil
}

func (p Peer) check() error {
	if len(p.PublicKey) != ed25519.PublicKeySize || ident.IDOf(p.PublicKey) != p.ID {
		return fmt.Errorf("peer %s: the public key does not match the ID", p.ID.Short())
	}
	if !text(p.Name) {
		return fmt.Errorf("peer %s: bad name", p.ID.Short())
	}
	if len(p.Addresses) > MaxAddresses {
		return fmt.Errorf("peer %s: more than %d addresses", p.ID.Short(), MaxAddresses)
	}
	for _, a := range p.Addresses {
		if !text(a) {
			return fmt.Errorf("peer %s: bad address", p.ID.Short())
		}
	}
	return nil
}

// text reports whether a text is present and within its bound.
func text(s string) bool { return s != "" && len(s) <= MaxText }

// clone returns a deep copy, except for public keys, which nothing changes.
func (s *State) clone() State {
	c := State{
		Version: s.Version,
		Peers:   slices.Clone(s.Peers), Shares: slices.Clone(s.Shares), Uses: slices.Clone(s.Uses),
	}
	for i := range c.Peers {
		c.Peers[i].Addresses = slices.Clone(c.Peers[i].Addresses)
	}
	for i := range c.Shares {
		c.Shares[i].Peers = slices.Clone(c.Shares[i].Peers)
	}
	return c
}

// Peer returns the paired peer with that ID.
func (s *State) Peer(id ident.PeerID) (Peer, bool) {
	i := slices.IndexFunc(s.Peers, func(p Peer) bool { return p.ID == id })
	if i < 0 {
		return Peer{}, false
	}
	return s.Peers[i], true
}

// Find returns the peer that a person names: by its name, in upper or lower case,
// or else by the beginning of its ID, with or without dashes. Its errors wrap
// ErrUnknownPeer or ErrAmbiguous.
func (s *State) Find(nameOrID string) (Peer, error) {
	for _, p := range s.Peers {
		if strings.EqualFold(p.Name, nameOrID) {
			return p, nil
		}
	}
	plain := func(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "")) }
	var found []Peer
	for _, p := range s.Peers {
		if plain(nameOrID) != "" && strings.HasPrefix(plain(p.ID.String()), plain(nameOrID)) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return Peer{}, fmt.Errorf("%.64q: %w", nameOrID, ErrUnknownPeer)
	case 1:
		return found[0], nil
	}
	return Peer{}, fmt.Errorf("%.64q: %w", nameOrID, ErrAmbiguous)
}
