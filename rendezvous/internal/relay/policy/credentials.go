package policy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Validity is the time for which credentials may begin an allocation. An allocation may last longer: its client
// refreshes it with the credentials that began it, until the peer is revoked.
const Validity = 10 * time.Minute

const maxUsername = 128 // bytes

// Credentials allow one peer to allocate for a while.
type Credentials struct {
	Username string // expiry in unix seconds ":" PeerID ":" nonce
	Password string
	Expires  time.Time
}

// Identity holds what a username says.
type Identity struct {
	Peer    ident.PeerID
	Issued  time.Time
	Expires time.Time
}

// Authority issues and revokes credentials. All relays of a cluster have the same secret. The authority stores no
// credentials, because a username holds everything and its password is an HMAC of it.
type Authority struct {
	secret []byte           // static
	now    func() time.Time // static

	mu      sync.Mutex
	revoked map[ident.PeerID]time.Time // guarded by mu; kept while older credentials may be valid
}

// NewAuthority returns an authority with a secret.
func NewAuthority(secret []byte, now func() time.Time) *Authority {
	return &Authority{secret: secret, now: now, revoked: map[ident.PeerID]time.Time{}}
}

// Issue returns new credentials for a peer.
func (a *Authority) Issue(id ident.PeerID) Credentials {
	var nonce [8]byte
	rand.Read(nonce[:]) // never fails: crypto/rand ends the program instead
	expires := a.now().Add(Validity).Truncate(time.Second)
	username := strconv.FormatInt(expires.Unix(), 10) + ":" + id.String() + ":" + hex.EncodeToString(nonce[:])
	return Credentials{Username: username, Password: a.Password(username), Expires: expires}
}

// Password returns the password that belongs to a username.
func (a *Authority) Password(username string) string {
	mac := hmac.New(sha256.New, a.secret)
	mac.Write([]byte(username))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Revoke makes all credentials invalid that were issued to a peer until a moment.
func (a *Authority) Revoke(id ident.PeerID, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	expired := a.now().Add(-Validity)
	if until.After(expired) {
		a.revoked[id] = until
	}
	maps.DeleteFunc(a.revoked, func(_ ident.PeerID, until time.Time) bool { return !until.After(expired) })
}

// Revoked reports whether the credentials of an identity have been revoked.
func (a *Authority) Revoked(id Identity) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	until, ok := a.revoked[id.Peer]
	return ok && !id.Issued.After(until)
}

// ParseUsername parses a username as Issue writes it. Only the password proves that Issue has written it.
func ParseUsername(username string) (Identity, bool) {
	parts := strings.Split(username, ":")
	if len(username) > maxUsername || len(parts) != 3 {
		return Identity{}, false
	}
	seconds, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return Identity{}, false
	}
	peer, err := ident.ParsePeerID(parts[1])
	if err != nil {
		return Identity{}, false
	}
	expires := time.Unix(seconds, 0)
	return Identity{Peer: peer, Issued: expires.Add(-Validity), Expires: expires}, true
}
