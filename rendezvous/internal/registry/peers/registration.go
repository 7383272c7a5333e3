package peers

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// AdmissionStore admits peers and counts them. It uses up invites and approvals.
type AdmissionStore interface {
	PeerCounter
	// Admit registers a new peer, or renews a known one. The peer gets the
	// admission's token, and its name unless an administrator has named the peer.
	// Only a new peer needs an invite or an approval, and only a new peer writes
	// the event. Errors: ErrReplayed, ErrInviteNeeded, ErrInvite, ErrRevoked;
	// then neither the challenge nor an invite is used up.
	Admit(ctx context.Context, a Admission) (AdmissionResult, error)
}

// PeerReader reads a peer.
type PeerReader interface {
	// Peer returns a peer. Errors: ErrNotFound.
	Peer(ctx context.Context, id ident.PeerID) (Peer, error)
}

// Admission is a registration whose proof was verified.
type Admission struct {
	Peer             Peer
	Now              time.Time
	Challenge        ChallengeNonce // can be used once
	ChallengeExpires time.Time
	Open             bool             // a new peer needs no invite
	Invite           *registry.Digest // nil without an invite
	Event            audit.Event      // of a new peer
}

// AdmissionResult is the result of an admission.
type AdmissionResult struct {
	Created bool // the peer was not known before
	Name    string
}

const defaultMaxPeers = 1_000_000

// RegistrationConfig configures a Registration.
type RegistrationConfig struct {
	Store        AdmissionStore
	Peers        PeerReader
	Secrets      *registry.Secrets
	Counter      *Counter
	JoinRequests *JoinRequests
	// Open lets new peers register without an invite.
	Open bool
	// RequireBinding refuses registrations that are bound neither to their TLS
	// connection nor to the origin at which peers reach this rendezvous through a
	// trusted proxy.
	RequireBinding bool
	MaxPeers       int              // registered peers; 0: 1,000,000
	Now            func() time.Time // nil: time.Now
	// Refused counts a refused request, see audit.Log.
	Refused func(ctx context.Context, request string, peer ident.PeerID, err error)
	// OnRegistered is called after a registration; created is false if the peer
	// was known. It may be nil.
	OnRegistered func(created bool)
}

// Registration registers peers. Its methods may be called concurrently.
type Registration struct {
	cfg RegistrationConfig // static after NewRegistration
}

// NewRegistration returns a registration.
func NewRegistration(c RegistrationConfig) (*Registration, error) {
	if c.Store == nil || c.Peers == nil || c.Secrets == nil || c.Counter == nil || c.JoinRequests == nil ||
		c.Refused == nil {
		return nil, errors.New(
			"registration: stores, secrets, a counter, join requests and a count of refusals are needed")
	}
	if c.MaxPeers <= 0 {
		c.MaxPeers = defaultMaxPeers
	}
	if c.OnRegistered == nil {
		c.OnRegistered = func(bool) {}
	}
	c.Now = registry.Clock(c.Now)
	return &Registration{c}, nil
}

// Open reports whether new peers can register without an invite.
func (r *Registration) Open() bool { return r.cfg.Open }

// Registered returns the number of registered peers, see Counter.
func (r *Registration) Registered() int { return r.cfg.Counter.Registered() }

// RegistrationResult is a registered peer and its new token, which is not kept.
type RegistrationResult struct {
	Peer    Peer
	Token   string
	Created bool // the peer was not known before
}

// Channel describes how a registration arrived: by a TLS connection with this
// exporter, or through a trusted proxy that terminates TLS, for peers that reach
// this rendezvous at this origin.
type Channel struct {
	Exporter []byte // nil without a TLS connection
	Origin   ident.Origin
}

// Register admits a peer that proves its key. A known peer needs no invite; its
// token changes, and the previous token ends.
//
// Errors: ErrName, ErrChallenge, ErrReplayed, ErrBinding, ErrOrigin,
// ErrSignature, ErrInviteNeeded, ErrInvite, ErrRevoked, ErrFull.
func (r *Registration) Register(ctx context.Context, reg api.Registration, by Channel) (RegistrationResult, error) {
	got, err := r.register(ctx, reg, by)
	if err != nil {
		id := ident.IDOf(reg.PublicKey)
		r.cfg.Refused(ctx, "register", id, err)
		if errors.Is(err, ErrInviteNeeded) {
			r.cfg.JoinRequests.note(ctx, id)
		}
		return got, err
	}
	r.cfg.OnRegistered(got.Created)
	return got, nil
}

func (r *Registration) register(ctx context.Context, reg api.Registration, by Channel) (RegistrationResult, error) {
	var none RegistrationResult
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
	var raw registry.TokenBytes
	if err := r.cfg.Secrets.Fill(raw[:]); err != nil {
		return none, fmt.Errorf("new token: %w", err)
	}
	p := Peer{ID: ident.IDOf(reg.PublicKey), PublicKey: reg.PublicKey, Name: reg.Name, Created: now}
	var token string
	token, p.TokenPrefix, p.TokenHash = registry.PeerMark.Token(raw)
	a := Admission{Peer: p, Now: now, Challenge: challenge, ChallengeExpires: expires, Open: r.cfg.Open}
	a.Event = audit.NewEvent(ctx, now, audit.KindRegistered)
	a.Event.Actor = "peer" // the signature proves it
	a.Event.Peer, a.Event.Detail = p.ID, audit.Detail(p.Name)
	if reg.Invite != "" {
		digest := inviteDigest(reg.Invite)
		a.Invite = &digest
		a.Event.Detail = audit.Detail(p.Name, "with invite", Invite{Hash: digest}.ID().String())
	}
	admitted, err := r.admit(ctx, a)
	if err != nil {
		return none, err
	}
	p.Name = admitted.Name
	return RegistrationResult{Peer: p, Token: token, Created: admitted.Created}, nil
}

// admit admits a peer unless the registry is full. A known peer can renew its
// registration even then.
func (r *Registration) admit(ctx context.Context, a Admission) (AdmissionResult, error) {
	if r.cfg.Counter.Registered() >= r.cfg.MaxPeers {
		if _, err := r.cfg.Peers.Peer(ctx, a.Peer.ID); err != nil {
			return AdmissionResult{}, registry.Replace(err, ErrNotFound, ErrFull)
		}
	}
	admitted, err := r.cfg.Store.Admit(ctx, a)
	if err == nil && admitted.Created {
		r.cfg.Counter.added()
	}
	return admitted, err
}

// checkSignature verifies the signature, and that it is bound to the channel.
func (r *Registration) checkSignature(reg api.Registration, by Channel) error {
	switch {
	case len(reg.PublicKey) != ed25519.PublicKeySize:
		return ErrSignature
	case reg.Origin != "" && by.Origin == "": // a peer that connects directly binds to its TLS connection
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
