package policy

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestCredentialsNameTheirPeerAndExpire(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	a := NewAuthority([]byte("0123456789abcdef"), func() time.Time { return now })
	peer := ident.PeerID{1}
	c := a.Issue(peer)
	id, ok := ParseUsername(c.Username)
	if !ok || id.Peer != peer || !id.Expires.Equal(now.Add(Validity)) || !id.Issued.Equal(now) {
		t.Errorf("username %s: %+v, %v", c.Username, id, ok)
	}
	if c.Password != a.Password(c.Username) || c.Password == a.Issue(peer).Password {
		t.Error("the password does not depend on the username alone")
	}
	other := NewAuthority([]byte("fedcba9876543210"), func() time.Time { return now })
	if other.Password(c.Username) == c.Password {
		t.Error("another secret gives the same password")
	}
}

func TestRevokedCredentialsStayRevoked(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	a := NewAuthority([]byte("0123456789abcdef"), func() time.Time { return now })
	peer := ident.PeerID{1}
	before, _ := ParseUsername(a.Issue(peer).Username)
	a.Revoke(peer, now)
	now = now.Add(time.Second)
	after, _ := ParseUsername(a.Issue(peer).Username)
	if !a.Revoked(before) || a.Revoked(after) {
		t.Errorf("revoked: %v before and %v after the revocation, want true and false", a.Revoked(before),
			a.Revoked(after))
	}
	now = now.Add(Validity)
	a.Revoke(ident.PeerID{2}, now)
	if len(a.revoked) != 1 {
		t.Errorf("%d revocations are kept, want the one whose credentials may still be valid", len(a.revoked))
	}
}

func FuzzUsername(f *testing.F) {
	a := NewAuthority([]byte("0123456789abcdef"), time.Now)
	f.Add(a.Issue(ident.PeerID{1}).Username)
	f.Add("1:2:3")
	f.Fuzz(func(t *testing.T, username string) {
		if id, ok := ParseUsername(username); ok && id.Peer.IsZero() && len(username) < 50 {
			t.Errorf("%q is parsed as the username of a peer", username)
		}
	})
}
