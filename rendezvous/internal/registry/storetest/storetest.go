// Package storetest holds the contracts of the stores of a rendezvous, one for each
// store. Both engines run all of them.
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

// contracts are the tests of each store.
var contracts = map[string]map[string]func(*testing.T, *database.Database){
	"Peers": {
		"NewAndKnownPeersAreAdmitted":     newAndKnownPeersAreAdmitted,
		"ChallengeIsUsedOnce":             challengeIsUsedOnce,
		"RefusedAdmissionLeavesNothing":   refusedAdmissionLeavesNothing,
		"CancelledAdmissionLeavesNothing": cancelledAdmissionLeavesNothing,
		"TokensFindTheirPeer":             tokensFindTheirPeer,
		"NamesAreVersioned":               namesAreVersioned,
		"PeersAreListed":                  peersAreListed,
	},
	"Invites": {
		"NewPeerNeedsAnInvite":         newPeerNeedsAnInvite,
		"ConcurrentPeersUseUpAnInvite": concurrentPeersUseUpAnInvite,
		"InvitesAreListedAndRevoked":   invitesAreListedAndRevoked,
	},
	"AllowList": {
		"OnlyAllowedPeersFindAnOwner":     onlyAllowedPeersFindAnOwner,
		"PermissionsAreBounded":           permissionsAreBounded,
		"ConcurrentPermissionsAreBounded": concurrentPermissionsAreBounded,
	},
	"Approvals": {
		"ApprovedPeerRegistersOnce": approvedPeerRegistersOnce,
	},
	"JoinRequests": {
		"JoinRequestsAreListed":  joinRequestsAreListed,
		"JoinRequestsAreBounded": joinRequestsAreBounded,
	},
	"Revocations": {
		"RevokedPeerIsRemoved":        revokedPeerIsRemoved,
		"RevokedPeerIsRefused":        revokedPeerIsRefused,
		"RemovedPeerCanRegisterAgain": removedPeerCanRegisterAgain,
		"PollMissesNoRevocation":      pollMissesNoRevocation,
	},
	"Mailboxes": {
		"MailboxIsOpenedAndClosed":  mailboxIsOpenedAndClosed,
		"MailboxesAreBounded":       mailboxesAreBounded,
		"ConcurrentTriesAreBounded": concurrentTriesAreBounded,
		"RepeatedTryIsTheSame":      repeatedTryIsTheSame,
		"StepsAreOrdered":           stepsAreOrdered,
		"MailboxExpires":            mailboxExpires,
	},
	"Administration": {
		"AdminLinkIsUsedOnce":            adminLinkIsUsedOnce,
		"AdminTokensAreListedAndRevoked": adminTokensAreListedAndRevoked,
		"AdminTokensAreBounded":          adminTokensAreBounded,
		"SignInsAreBoundedByParent":      signInsAreBoundedByParent,
	},
	"Audit": {
		"EventsAreOrdered":              eventsAreOrdered,
		"RefusalsDisplaceNoOtherEvents": refusalsDisplaceNoOtherEvents,
	},
	"Leases": {
		"LeaseIsFenced": leaseIsFenced,
	},
	"Presence": {
		"PresenceEndsWithItsLease":       presenceEndsWithItsLease,
		"LastSeenIsKept":                 lastSeenIsKept,
		"NewestConnectionWins":           newestConnectionWins,
		"ReplacedConnectionsAreReturned": replacedConnectionsAreReturned,
		"PresenceIsWrittenInBatches":     presenceIsWrittenInBatches,
		"StaleHolderWritesNothing":       staleHolderWritesNothing,
	},
	"Links": {
		"ReportsEndWithTheirConnection": reportsEndWithTheirConnection,
		"StaleHolderReportsNothing":     staleHolderReportsNothing,
		"PairsAreListed":                pairsAreListed,
	},
	"History": {
		"MinutesAreSummedInSpans": minutesAreSummedInSpans,
		"RelayUseAddsUp":          relayUseAddsUp,
	},
	"Blobs": {
		"BlobNamesArePaths": blobNamesArePaths,
		"BlobsAreBounded":   blobsAreBounded,
		"LockIsFenced":      lockIsFenced,
	},
	"Secrets": {
		"FirstSecretIsKept": firstSecretIsKept,
	},
	"Sweep": {
		"SweepRemovesExpiredRows": sweepRemovesExpiredRows,
	},
}

// Run runs the contract of every store on the databases that open returns: a new,
// empty database for each call. Run closes them.
func Run(t *testing.T, open func(t *testing.T) *database.Database) {
	for noun, tests := range contracts {
		t.Run(noun, func(t *testing.T) {
			for name, test := range tests {
				t.Run(name, func(t *testing.T) {
					db := open(t)
					t.Cleanup(func() {
						if err := db.Close(); err != nil {
							t.Errorf("close: %v", err)
						}
					})
					test(t, db)
				})
			}
		})
	}
}

// start is the time at which every test begins. It is not a whole second, so that
// tests notice truncation, and it is later than the time of any clock that a store
// may compare it with.
var start = time.UnixMilli(4_000_000_000_123).UTC()

// id returns the ID of the nth peer.
func id(n int) ident.PeerID { return ident.IDOf(key(n)) }

func key(n int) ed25519.PublicKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("peer"), uint64(n)))
	return ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
}

// admission returns an admission of the nth peer, with a challenge and a token that
// have a number.
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

func admit(t *testing.T, db *database.Database, n int) {
	t.Helper()
	if _, err := db.Admissions.Admit(t.Context(), admission(n, 1_000_000+n)); err != nil {
		t.Fatalf("admit peer %d: %v", n, err)
	}
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
	if want != nil && errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("%s: %v counts as a failure of the database", what, err)
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

// race calls f n times concurrently. It returns how many calls succeeded, and the
// errors of the others.
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

// firstSecretIsKept checks that every caller gets the secret that was kept first.
func firstSecretIsKept(t *testing.T, db *database.Database) {
	ctx := t.Context()
	first, err := db.Secrets.Secret(ctx, "a", []byte("one"))
	must(t, "secret", err)
	again, err := db.Secrets.Secret(ctx, "a", []byte("two"))
	must(t, "secret again", err)
	other, err := db.Secrets.Secret(ctx, "b", []byte("three"))
	must(t, "another secret", err)
	if string(first) != "one" || !bytes.Equal(first, again) || string(other) != "three" {
		t.Errorf("got %q, %q and %q", first, again, other)
	}
	must(t, "ping", db.Ping(ctx))
}

// cancelledAdmissionLeavesNothing checks that an admission with a cancelled context has no effect.
func cancelledAdmissionLeavesNothing(t *testing.T, db *database.Database) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Admissions.Admit(ctx, admission(1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("admit: error %v, want %v", err, context.Canceled)
	}
	if _, err := db.Peers.Peer(t.Context(), id(1)); !errors.Is(err, peers.ErrNotFound) {
		t.Errorf("after the cancelled admission: %v", err)
	}
}
