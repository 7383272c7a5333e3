package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Registered is a peer and its fresh token, which is kept nowhere.
type Registered struct {
	Peer    Peer
	Token   string
	Created bool // the peer was not known before
}

// Channel is how a registration came: the exporter of its TLS connection, nil
// where there is none, or, through a proxy that ends TLS and is trusted, the
// origin at which peers reach this rendezvous.
type Channel struct {
	Exporter []byte
	Origin   ident.Origin
}

// Register admits a peer that proves its key. A known peer needs no invite; its
// token changes, and the one before ends.
//
// Errors: ErrName, ErrChallenge, ErrReplayed, ErrBinding, ErrOrigin,
// ErrSignature, ErrInviteNeeded, ErrInvite, ErrRevoked, ErrFull.
func (r *Registry) Register(ctx context.Context, reg api.Registration, by Channel) (Registered, error) {
	got, err := r.register(ctx, reg, by)
	switch {
	case err != nil:
		r.Refused(ctx, "register", ident.IDOf(reg.PublicKey), err)
	case got.Created:
		r.cfg.Observe("register", "new", false)
	default:
		r.cfg.Observe("register", "renewed", false)
	}
	return got, err
}

func (r *Registry) register(ctx context.Context, reg api.Registration, by Channel) (Registered, error) {
	var none Registered
	if err := checkName(reg.Name); err != nil {
		return none, err
	}
	challenge, expires, err := r.checkChallenge(ctx, reg.Challenge)
	if err != nil {
		return none, err
	}
	now := r.cfg.Now()
	if !now.Before(reg.Expires) || reg.Expires.After(expires) {
		return none, ErrChallenge
	}
	if err := r.checkSignature(reg, by); err != nil {
		return none, err
	}
	token, prefix, hash, err := r.newToken()
	if err != nil {
		return none, err
	}
	a := Admission{
		Peer: Peer{
			ID: ident.IDOf(reg.PublicKey), PublicKey: reg.PublicKey, Name: reg.Name, Created: now,
			TokenPrefix: prefix, TokenHash: hash,
		},
		Now: now, Challenge: challenge, ChallengeExpires: expires, Open: r.cfg.Open,
	}
	a.Event = r.event(ctx, EventRegistered)
	a.Event.Actor = "peer" // its signature is checked
	a.Event.Peer, a.Event.Detail = a.Peer.ID, detail(a.Peer.Name)
	if reg.Invite != "" {
		digest := inviteDigest(reg.Invite)
		a.Invite = &digest
		a.Event.Detail = detail(a.Peer.Name, "with invite", Invite{Hash: digest}.ID().String())
	}
	if r.peers.Load() >= int64(r.cfg.MaxPeers) {
		// Those who are known may still renew.
		if _, err := r.cfg.Store.Peer(ctx, a.Peer.ID); err != nil {
			return none, as(err, ErrPeerNotFound, ErrFull)
		}
	}
	admitted, err := r.cfg.Store.Admit(ctx, a)
	if err != nil {
		return none, err
	}
	if admitted.Created {
		r.peers.Add(1)
		r.counts.registrations.Add(1)
	}
	a.Peer.Name = admitted.Name
	return Registered{Peer: a.Peer, Token: token, Created: admitted.Created}, nil
}

// checkSignature wants the signature to be of the key, and bound to how the
// registration came.
func (r *Registry) checkSignature(reg api.Registration, by Channel) error {
	switch {
	case len(reg.PublicKey) != ed25519.PublicKeySize:
		return ErrSignature
	case reg.Origin != "" && by.Origin == "": // who connects directly has a TLS connection to bind to
		return ErrBinding
	case reg.Origin != "" && ident.Origin(reg.Origin) != by.Origin:
		return ErrOrigin
	case reg.Origin != "":
		if !reg.VerifyForOrigin(by.Origin) {
			return ErrSignature
		}
	case r.cfg.RequireBinding && !reg.Bound, reg.Bound && by.Exporter == nil:
		return ErrBinding
	case !reg.Verify(by.Exporter):
		return ErrSignature
	}
	return nil
}

// checkName refuses what could deceive or break a terminal: control and
// formatting characters, and spaces that nobody sees.
func checkName(name string) error {
	if !utf8.ValidString(name) || name == "" || utf8.RuneCountInString(name) > api.MaxName ||
		strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return ErrName
	}
	return nil
}

// A token is "ef_" and the base64url of a public prefix and a 256-bit secret.
// The store has the prefix, to find it by, and the SHA-256 of the whole.
const (
	tokenMark   = "ef_"
	tokenSecret = 32
)

func (r *Registry) newToken() (token string, prefix TokenPrefix, hash Digest, err error) {
	var raw [len(prefix) + tokenSecret]byte
	if _, err := io.ReadFull(r.cfg.Random, raw[:]); err != nil {
		return "", prefix, hash, fmt.Errorf("new token: %w", err)
	}
	copy(prefix[:], raw[:])
	token = tokenMark + base64.RawURLEncoding.EncodeToString(raw[:])
	return token, prefix, sha256.Sum256([]byte(token)), nil
}

// Authenticate returns the peer whose token it is. Errors: ErrUnauthenticated.
func (r *Registry) Authenticate(ctx context.Context, token string) (ident.PeerID, error) {
	var none ident.PeerID
	prefix, err := prefixOf(token, tokenMark)
	if err != nil {
		return none, err
	}
	peer, err := r.cfg.Store.PeerByToken(ctx, prefix)
	if err != nil {
		return none, as(err, ErrPeerNotFound, ErrUnauthenticated)
	}
	hash := sha256.Sum256([]byte(token))
	if !ident.Equal(hash[:], peer.TokenHash[:]) {
		return none, ErrUnauthenticated
	}
	return peer.ID, nil
}

// prefixOf reads the public beginning of a token behind its mark.
func prefixOf(token, mark string) (prefix TokenPrefix, err error) {
	text, ok := strings.CutPrefix(token, mark)
	if !ok || len(token) > api.MaxToken {
		return prefix, ErrUnauthenticated
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != len(prefix)+tokenSecret {
		return prefix, ErrUnauthenticated
	}
	copy(prefix[:], raw)
	return prefix, nil
}

// Peer returns a registered peer, for the server's own use: no one's permission
// is asked. Errors: ErrPeerNotFound.
func (r *Registry) Peer(ctx context.Context, id ident.PeerID) (Peer, error) {
	return r.cfg.Store.Peer(ctx, id)
}

// Rename changes the name of a peer and returns the peer. Errors: ErrName,
// ErrPeerNotFound.
func (r *Registry) Rename(ctx context.Context, id ident.PeerID, name string) (Peer, error) {
	if err := checkName(name); err != nil {
		return Peer{}, err
	}
	if err := r.cfg.Store.Rename(ctx, Naming{ID: id, Name: name}); err != nil {
		return Peer{}, err
	}
	return r.cfg.Store.Peer(ctx, id)
}
