// Package storetest is the contract that every registry.Store must pass.
package storetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// Run holds the stores that open makes to the contract. open gives a fresh,
// empty store each time, which Run closes.
func Run(t *testing.T, open func(t *testing.T) *database.Database) {
	for name, test := range map[string]func(*testing.T, *database.Database){
		"AdmitNewAndKnown":          admitNewAndKnown,
		"AdmitWantsAnInvite":        admitWantsAnInvite,
		"AdmitRefusesReplay":        admitRefusesReplay,
		"AdmitFailsWhole":           admitFailsWhole,
		"InviteRacedIsUsedUp":       inviteRacedIsUsedUp,
		"InviteLife":                inviteLife,
		"NamesAreVersioned":         namesAreVersioned,
		"PeersAreListed":            peersAreListed,
		"RevokedPeerIsGone":         revokedPeerIsGone,
		"RemovedPeerMayComeBack":    removedPeerMayComeBack,
		"ApprovedPeerNeedsNoInvite": approvedPeerNeedsNoInvite,
		"RevocationsAreInOrder":     revocationsAreInOrder,
		"JoinRequestsAreKept":       joinRequestsAreKept,
		"JoinRequestsAreBounded":    joinRequestsAreBounded,
		"RevokedPeerIsRefused":      revokedPeerIsRefused,
		"TokensFindTheirPeer":       tokensFindTheirPeer,
		"OnlyTheAllowedFind":        onlyTheAllowedFind,
		"AllowedIsBounded":          allowedIsBounded,
		"AllowedRacedIsBounded":     allowedRacedIsBounded,
		"MailboxLife":               mailboxLife,
		"MailboxesAreBounded":       mailboxesAreBounded,
		"TriesRacedAreThree":        triesRacedAreThree,
		"TryAgainIsTheSame":         tryAgainIsTheSame,
		"StepsAreOrderedAndOnce":    stepsAreOrderedAndOnce,
		"MailboxExpires":            mailboxExpires,
		"AdminLinkIsGoodOnce":       adminLinkIsGoodOnce,
		"AdminTokenLife":            adminTokenLife,
		"AdminTokensAreBounded":     adminTokensAreBounded,
		"SessionsAreTokensTheirOwn": sessionsAreTokensOfTheirOwn,
		"EventsAreOrdered":          eventsAreOrdered,
		"EventsAreBounded":          eventsAreBounded,
		"LeaseIsFenced":             leaseIsFenced,
		"PresenceFollowsLease":      presenceFollowsLease,
		"LastSeenIsKept":            lastSeenIsKept,
		"NewestConnectionWins":      newestConnectionWins,
		"ReplacedAreTold":           replacedAreTold,
		"PresenceInBatches":         presenceInBatches,
		"StaleHolderWritesNothing":  staleHolderWritesNothing,
		"BlobsArePaths":             blobsArePaths,
		"BlobsAreBounded":           blobsAreBounded,
		"LocksAreFenced":            locksAreFenced,
		"PathsFollowPresence":       pathsFollowPresence,
		"PathsAreFenced":            pathsAreFenced,
		"PairsAreListed":            pairsAreListed,
		"HistoryIsInSpans":          historyIsInSpans,
		"RelayUseAddsUp":            relayUseAddsUp,
		"SweepRemovesWhatIsOver":    sweepRemovesWhatIsOver,
		"SecretIsTheFirst":          secretIsTheFirst,
		"CancelledContext":          cancelledContext,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test(t, s)
		})
	}
}

// start is when every test begins: not on a whole second, so that truncation
// shows, and far ahead of any clock, which a store may compare it with.
var start = time.UnixMilli(4_000_000_000_123).UTC()

// id makes the nth peer's ID.
func id(n int) ident.PeerID { return ident.IDOf(key(n)) }

func key(n int) ed25519.PublicKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("peer"), uint64(n)))
	return ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
}

// admission registers the nth peer with a challenge and a token of that number.
func admission(n, challenge int) peers.Admission {
	a := peers.Admission{
		Peer: peers.Peer{ID: id(n), PublicKey: key(n), Name: "péer \u4e16", Created: start},
		Now:  start, ChallengeExpires: start.Add(time.Minute), Open: true, Event: event(audit.KindRegistered),
	}
	a.Event.Peer = id(n)
	binary.BigEndian.PutUint64(a.Challenge[:], uint64(challenge))
	binary.BigEndian.PutUint64(a.Peer.TokenPrefix[:], uint64(challenge))
	a.Peer.TokenHash = sha256.Sum256(a.Peer.TokenPrefix[:])
	return a
}

func admit(t *testing.T, s *database.Database, n int) {
	t.Helper()
	if _, err := s.Admissions.Admit(t.Context(), admission(n, 1_000_000+n)); err != nil {
		t.Fatalf("admit peer %d: %v", n, err)
	}
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
	if want != nil && errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("%s: %v reads as a failure of the database", what, err)
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// race runs f n times at once and counts what each error was returned.
func race(n int, f func(i int) error) (ok int, failed []error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			err := f(i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				ok++
			} else {
				failed = append(failed, err)
			}
		})
	}
	close(begin)
	all.Wait()
	return ok, failed
}

func secretIsTheFirst(t *testing.T, s *database.Database) {
	ctx := t.Context()
	first, err := s.Secrets.Secret(ctx, "a", []byte("one"))
	must(t, "secret", err)
	again, err := s.Secrets.Secret(ctx, "a", []byte("two"))
	must(t, "secret again", err)
	other, err := s.Secrets.Secret(ctx, "b", []byte("three"))
	must(t, "another secret", err)
	if string(first) != "one" || !bytes.Equal(first, again) || string(other) != "three" {
		t.Errorf("got %q, %q and %q", first, again, other)
	}
	must(t, "ping", s.Ping(ctx))
}

func cancelledContext(t *testing.T, s *database.Database) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Admissions.Admit(ctx, admission(1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("admit: error %v, want %v", err, context.Canceled)
	}
	if _, err := s.Peers.Peer(t.Context(), id(1)); !errors.Is(err, peers.ErrNotFound) {
		t.Errorf("the cancelled admission left something: %v", err)
	}
}
