package storetest

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// BeforeAdministration writes rows of the first version of the schema, which had no
// administrators, for tests of the upgrade.
type BeforeAdministration struct {
	// Exec runs a statement whose arguments are $1, $2 and so on.
	Exec func(statement string, args ...any) error
}

// Write registers the nth peer, creates the nth invite and takes the nth lease.
func (b BeforeAdministration) Write(t *testing.T, n int) {
	t.Helper()
	p := admission(n, n).Peer
	peer, invite := id(n), invite(byte(n), 0).Hash
	must(t, "register", b.Exec(`INSERT INTO peers (id, public_key, name, created, token_prefix, token_hash)
		VALUES ($1, $2, $3, $4, $5, $6)`,
		peer[:], []byte(p.PublicKey), "name", start.UnixMilli(), p.TokenPrefix[:], p.TokenHash[:]))
	must(t, "renew", b.Exec(`UPDATE peers SET name = $1 WHERE id = $2`, p.Name, peer[:]))
	must(t, "invite", b.Exec(`INSERT INTO invites (hash, label, uses, created, expires) VALUES ($1, $2, $3,
		$4, $5)`,
		invite[:], "before", 3, start.UnixMilli(), start.Add(time.Hour).UnixMilli()))
	must(t, "use the invite", b.Exec(`UPDATE invites SET uses = uses - 1 WHERE hash = $1`, invite[:]))
	must(t, "take a lease", b.Exec(`INSERT INTO instances (name, epoch, address, lease_until) VALUES ($1,
		$2, $3, $4)`,
		string(rune('a'+n)), 1000+n, "address", start.Add(time.Hour).UnixMilli()))
}

// Check checks that the rows of Write are intact, and that the stores can use them.
func (b BeforeAdministration) Check(t *testing.T, s *database.Database, written ...int) {
	t.Helper()
	ctx := t.Context()
	for _, n := range written {
		p, err := s.Peers.Peer(ctx, id(n))
		must(t, "peer", err)
		equal(t, "name", p.Name, admission(n, n).Peer.Name)
		equal(t, "version", p.Version, 1)
		i, err := s.Invites.Invite(ctx, peers.InviteID{byte(n)})
		must(t, "invite", err)
		equal(t, "uses left", i.Uses, 2)
		e := event(audit.KindPeerRenamed)
		must(t, "rename", s.Peers.Rename(ctx, peers.NameChange{ID: id(n), Name: "given", Version: 1, By: &e}))
		must(t, "revoke", revoke(t, s, n, 2))
	}
	must(t, "write to a new table", s.JoinRequests.PutJoinRequests(ctx, []peers.JoinRequest{joinRequest(99, 0)}, 10))
	equal(t, "join requests", len(listJoinRequests(t, s, start, 10)), 1)
	instances, err := s.Leases.Instances(ctx, start)
	must(t, "instances", err)
	equal(t, "instances", len(instances), len(written))
}
