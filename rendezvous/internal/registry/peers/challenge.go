package peers

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// A challenge is 16 random bytes, its expiry in seconds since 1970 as 8 bytes
// big endian, and the first 16 bytes of an HMAC-SHA-256 over both. Any instance
// can verify it without state. The store remembers used challenges until they
// expire.
const (
	nonceLen     = len(ChallengeNonce{})
	statedLen    = nonceLen + 8 // nonce and expiry
	tagLen       = 16
	challengeLen = statedLen + tagLen
)

// ChallengeNonce is the random part of a challenge.
type ChallengeNonce [16]byte

// Challenge returns the challenge that the next registration must sign, and its
// expiry.
func (r *Registration) Challenge(ctx context.Context) (challenge []byte, expires time.Time, err error) {
	key, err := r.cfg.Secrets.Secret(ctx, "challenge")
	if err != nil {
		return nil, time.Time{}, err
	}
	c := make([]byte, nonceLen, challengeLen)
	if err := r.cfg.Secrets.Fill(c); err != nil {
		return nil, time.Time{}, fmt.Errorf("new challenge: %w", err)
	}
	expires = r.cfg.Now().Add(api.MaxChallengeTTL).Truncate(time.Second)
	c = binary.BigEndian.AppendUint64(c, uint64(expires.Unix()))
	return append(c, challengeTag(key, c)...), expires, nil
}

// checkChallenge returns the nonce and the expiry of a challenge of this
// rendezvous that has not expired. Errors: ErrChallenge.
func (r *Registration) checkChallenge(ctx context.Context, c []byte) (nonce ChallengeNonce, expires time.Time,
	err error,
) {
	key, err := r.cfg.Secrets.Secret(ctx, "challenge")
	if err != nil {
		return nonce, expires, err
	}
	if len(c) != challengeLen || !ident.Equal(c[statedLen:], challengeTag(key, c[:statedLen])) {
		return nonce, expires, ErrChallenge
	}
	copy(nonce[:], c)
	expires = time.Unix(int64(binary.BigEndian.Uint64(c[nonceLen:])), 0)
	if !r.cfg.Now().Before(expires) {
		return nonce, expires, ErrChallenge
	}
	return nonce, expires, nil
}

func challengeTag(key, stated []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(stated)
	return mac.Sum(nil)[:tagLen]
}
