package peers

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Store keeps the registered peers.
type Store interface {
	PeerReader
	// PeerByToken returns the peer with a token that has this prefix. Errors:
	// ErrNotFound.
	PeerByToken(ctx context.Context, prefix registry.TokenPrefix) (Peer, error)
	// PeerFor returns the owner of a permission if the permission exists. An
	// unknown owner and a missing permission cost the same work. Errors:
	// ErrNotFound.
	PeerFor(ctx context.Context, p Permission) (Peer, error)
	// Peers returns peers, ordered by ID.
	Peers(ctx context.Context, q Query) ([]Peer, error)
	// Rename changes a peer's name. Errors: ErrNotFound, ErrChanged.
	Rename(ctx context.Context, n NameChange) error
}

// Locator finds connected peers; see presence.Store.
type Locator interface {
	LocatePeers(ctx context.Context, ids []ident.PeerID, now time.Time) (map[ident.PeerID]presence.Location, error)
	LastSeen(ctx context.Context, ids []ident.PeerID) (map[ident.PeerID]time.Time, error)
}

// Peer is a registered peer.
type Peer struct {
	ID          ident.PeerID
	PublicKey   ed25519.PublicKey
	Name        string
	Created     time.Time
	TokenPrefix registry.TokenPrefix
	TokenHash   registry.Digest
	Version     int64 // from 1; rises with each change of the name
}

// PeerStatus is a peer and its connection, for administrators.
type PeerStatus struct {
	Peer
	At   *presence.Location // nil if it is not connected
	Seen time.Time          // when its last connection ended; zero if unknown
}

// Query selects peers.
type Query struct {
	After ident.PeerID // only peers with a higher ID; zero selects all
	Limit int          // at least 1
	Name  string       // only peers whose name contains it; ASCII letters match in either case
	// First and Last bound a range of IDs that match in addition to Name, or
	// alone if Name is "". Both zero is no range.
	First, Last ident.PeerID
}

// Everyone reports whether the query selects all peers.
func (q Query) Everyone() bool { return q.Name == "" && q.Last.IsZero() }

// NameChange is a change of a peer's name.
type NameChange struct {
	ID      ident.PeerID
	Name    string
	Version int64 // the peer's expected version; 0 accepts any
	// By is the event of an administrator who names the peer. The name then stays
	// until the peer changes it itself. Nil if the peer changes its own name.
	By *audit.Event
}

// Directory finds and names peers. Its methods may be called concurrently.
type Directory struct {
	store    Store
	presence Locator
	now      func() time.Time
}

// NewDirectory returns the directory of a store. A nil now is time.Now.
func NewDirectory(store Store, presence Locator, now func() time.Time) (*Directory, error) {
	if store == nil || presence == nil {
		return nil, errors.New("directory of peers: stores are needed")
	}
	return &Directory{store: store, presence: presence, now: registry.Clock(now)}, nil
}

// Authenticate returns the peer that a token belongs to. Errors:
// registry.ErrUnauthenticated.
func (d *Directory) Authenticate(ctx context.Context, token string) (ident.PeerID, error) {
	var none ident.PeerID
	prefix, err := registry.PeerMark.Prefix(token)
	if err != nil {
		return none, err
	}
	peer, err := d.store.PeerByToken(ctx, prefix)
	if err != nil {
		return none, registry.Replace(err, ErrNotFound, registry.ErrUnauthenticated)
	}
	if !peer.TokenHash.Matches(token) {
		return none, registry.ErrUnauthenticated
	}
	return peer.ID, nil
}

// Lookup returns the owner of a permission for the permitted peer: a peer finds
// itself, and those that allow it. An unknown owner and one that does not allow
// the peer are the same error, ErrNotFound.
func (d *Directory) Lookup(ctx context.Context, p Permission) (Peer, error) {
	if p.Owner == p.Peer {
		return d.store.Peer(ctx, p.Owner)
	}
	return d.store.PeerFor(ctx, p)
}

// Peer returns a registered peer for the server's own use, without a check of
// permissions. Errors: ErrNotFound.
func (d *Directory) Peer(ctx context.Context, id ident.PeerID) (Peer, error) {
	return d.store.Peer(ctx, id)
}

// Peers returns peers, ordered by ID, and where they are connected. q.Limit is at
// most registry.MaxBatch.
func (d *Directory) Peers(ctx context.Context, q Query) ([]PeerStatus, error) {
	peers, err := d.store.Peers(ctx, q)
	if err != nil {
		return nil, err
	}
	return d.located(ctx, peers)
}

// PeerStatus returns a peer and where it is connected. Errors: ErrNotFound.
func (d *Directory) PeerStatus(ctx context.Context, id ident.PeerID) (PeerStatus, error) {
	p, err := d.store.Peer(ctx, id)
	if err != nil {
		return PeerStatus{}, err
	}
	all, err := d.located(ctx, []Peer{p})
	if err != nil {
		return PeerStatus{}, err
	}
	return all[0], nil
}

func (d *Directory) located(ctx context.Context, peers []Peer) ([]PeerStatus, error) {
	ids := make([]ident.PeerID, len(peers))
	for i, p := range peers {
		ids[i] = p.ID
	}
	at, err := d.presence.LocatePeers(ctx, ids, d.now())
	if err != nil {
		return nil, err
	}
	seen, err := d.presence.LastSeen(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make([]PeerStatus, len(peers))
	for i, p := range peers {
		all[i].Peer, all[i].Seen = p, seen[p.ID]
		if l, ok := at[p.ID]; ok {
			all[i].At = &l
		}
	}
	return all, nil
}

// Rename changes a peer's name at its own request and returns the peer. Errors:
// ErrName, ErrNotFound.
func (d *Directory) Rename(ctx context.Context, id ident.PeerID, name string) (Peer, error) {
	if err := checkName(name); err != nil {
		return Peer{}, err
	}
	if err := d.store.Rename(ctx, NameChange{ID: id, Name: name}); err != nil {
		return Peer{}, err
	}
	return d.store.Peer(ctx, id)
}

// NamePeer gives a peer a name on behalf of an administrator. The name stays when
// the peer registers again. version is the peer's expected version, 0 accepts
// any. Errors: ErrName, ErrNotFound, ErrChanged.
func (d *Directory) NamePeer(ctx context.Context, id ident.PeerID, name string, version int64) (PeerStatus, error) {
	if err := checkName(name); err != nil {
		return PeerStatus{}, err
	}
	e := audit.NewEvent(ctx, d.now(), audit.KindPeerRenamed)
	e.Peer, e.Detail = id, audit.Detail(name)
	if err := d.store.Rename(ctx, NameChange{ID: id, Name: name, Version: version, By: &e}); err != nil {
		return PeerStatus{}, err
	}
	return d.PeerStatus(ctx, id)
}

// checkName refuses names with control or formatting characters, and names that
// begin or end with a space.
func checkName(name string) error {
	if !utf8.ValidString(name) || name == "" || utf8.RuneCountInString(name) > api.MaxName ||
		strings.TrimSpace(name) != name || !registry.Printable(name) {
		return ErrName
	}
	return nil
}
