package registry

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// A challenge is 16 random bytes, its expiry in seconds since 1970 as 8 bytes
// big endian, and the first 16 bytes of an HMAC-SHA-256 over both. Any instance
// can check it, none has to remember it; the store remembers those that were
// used, until they expire.
const (
	challengeRandom = 16
	challengeStated = challengeRandom + 8
	challengeMAC    = 16
	challengeLen    = challengeStated + challengeMAC
)

const secretLen = 32 // bytes

// Challenge returns what the next registration must sign, and until when.
func (r *Registry) Challenge(ctx context.Context) (challenge []byte, expires time.Time, err error) {
	key, err := r.secret(ctx, "challenge")
	if err != nil {
		return nil, time.Time{}, err
	}
	c := make([]byte, challengeRandom, challengeLen)
	if _, err := io.ReadFull(r.cfg.Random, c); err != nil {
		return nil, time.Time{}, fmt.Errorf("new challenge: %w", err)
	}
	expires = r.cfg.Now().Add(api.MaxChallengeTTL).Truncate(time.Second)
	c = binary.BigEndian.AppendUint64(c, uint64(expires.Unix()))
	return append(c, challengeTag(key, c)...), expires, nil
}

// checkChallenge returns the random part and the expiry of a challenge that
// this rendezvous gave and whose time is not over.
func (r *Registry) checkChallenge(ctx context.Context, c []byte) (random [challengeRandom]byte, expires time.Time, err error) {
	key, err := r.secret(ctx, "challenge")
	if err != nil {
		return random, expires, err
	}
	if len(c) != challengeLen || !ident.Equal(c[challengeStated:], challengeTag(key, c[:challengeStated])) {
		return random, expires, ErrChallenge
	}
	copy(random[:], c)
	expires = time.Unix(int64(binary.BigEndian.Uint64(c[challengeRandom:])), 0)
	if !r.cfg.Now().Before(expires) {
		return random, expires, ErrChallenge
	}
	return random, expires, nil
}

func challengeTag(key, stated []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(stated)
	return mac.Sum(nil)[:challengeMAC]
}

// secret returns the one of that name that all instances share, from the store
// the first time.
func (r *Registry) secret(ctx context.Context, name string) ([]byte, error) {
	r.secrets.Lock()
	defer r.secrets.Unlock()
	if value, ok := r.secrets.known[name]; ok {
		return value, nil
	}
	fresh := make([]byte, secretLen)
	if _, err := io.ReadFull(r.cfg.Random, fresh); err != nil {
		return nil, fmt.Errorf("new secret: %w", err)
	}
	value, err := r.cfg.Store.Secret(ctx, name, fresh)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	r.secrets.known[name] = value
	return value, nil
}
