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

const challengeKeyLen = 32

// Challenge returns what the next registration must sign, and until when.
func (r *Registry) Challenge(ctx context.Context) (challenge []byte, expires time.Time, err error) {
	key, err := r.challengeKey(ctx)
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
	key, err := r.challengeKey(ctx)
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

// challengeKey returns the key that all instances share, from the store the
// first time.
func (r *Registry) challengeKey(ctx context.Context) ([]byte, error) {
	r.key.Lock()
	defer r.key.Unlock()
	if r.key.value != nil {
		return r.key.value, nil
	}
	fresh := make([]byte, challengeKeyLen)
	if _, err := io.ReadFull(r.cfg.Random, fresh); err != nil {
		return nil, fmt.Errorf("new challenge key: %w", err)
	}
	key, err := r.cfg.Store.Secret(ctx, "challenge", fresh)
	if err != nil {
		return nil, fmt.Errorf("challenge key: %w", err)
	}
	r.key.value = key
	return key, nil
}
