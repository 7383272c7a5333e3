package relay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Validity is how long a credential may begin an allocation. An allocation that
// it began goes on beyond, for as long as its client refreshes it with the same
// credential, unless the peer is revoked.
const Validity = 10 * time.Minute

const maxUsername = 128 // bytes

// Credentials let one peer allocate for a while.
type Credentials struct {
	Username string // expiry in unix seconds ":" PeerID ":" nonce
	Password string
	Expires  time.Time
}

// Issue makes credentials for a peer.
func (r *Relay) Issue(id ident.PeerID) Credentials { return Issue(r.secret, id, r.now()) }

// Issue makes the credentials of a peer with the secret of the relays. It needs
// no memory: the username says everything and the password is its HMAC.
func Issue(secret []byte, id ident.PeerID, now time.Time) Credentials {
	var nonce [8]byte
	rand.Read(nonce[:]) // never fails: crypto/rand ends the program instead
	expires := now.Add(Validity).Truncate(time.Second)
	username := strconv.FormatInt(expires.Unix(), 10) + ":" + id.String() + ":" + hex.EncodeToString(nonce[:])
	return Credentials{Username: username, Password: password(secret, username), Expires: expires}
}

func (r *Relay) password(username string) string { return password(r.secret, username) }

func password(secret []byte, username string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(username))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// parseUsername reads what Issue wrote. That Issue did write it shows only the
// password.
func parseUsername(username string) (id ident.PeerID, expires time.Time, ok bool) {
	parts := strings.Split(username, ":")
	if len(username) > maxUsername || len(parts) != 3 {
		return id, expires, false
	}
	seconds, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return id, expires, false
	}
	id, err = ident.ParsePeerID(parts[1])
	return id, time.Unix(seconds, 0), err == nil
}
