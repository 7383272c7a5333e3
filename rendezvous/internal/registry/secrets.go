package registry

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"io"
	"sync"
)

const secretLen = 32 // bytes

// SecretStore keeps secrets that all instances share.
type SecretStore interface {
	// Secret returns the secret with a name. If the store does not have it, the
	// store keeps and returns fresh. Every instance gets the same secret.
	Secret(ctx context.Context, name string, fresh []byte) ([]byte, error)
}

// Secrets caches the secrets that all instances share, and draws random bytes.
// Its methods may be called concurrently.
type Secrets struct {
	store  SecretStore
	random io.Reader

	// Guarded by mu.
	mu    sync.Mutex
	known map[string][]byte
}

// NewSecrets returns the secrets of a store. A nil random is crypto/rand.
func NewSecrets(store SecretStore, random io.Reader) *Secrets {
	if random == nil {
		random = rand.Reader
	}
	return &Secrets{store: store, random: random, known: map[string][]byte{}}
}

// Secret returns the secret with a name, which the store creates on first use.
func (s *Secrets) Secret(ctx context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value, ok := s.known[name]; ok {
		return value, nil
	}
	fresh := make([]byte, secretLen)
	if err := s.Fill(fresh); err != nil {
		return nil, fmt.Errorf("new secret: %w", err)
	}
	value, err := s.store.Secret(ctx, name, fresh)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	s.known[name] = value
	return value, nil
}

// Fill fills raw with random bytes.
func (s *Secrets) Fill(raw []byte) error {
	_, err := io.ReadFull(s.random, raw)
	return err
}

// Random returns the source of random bytes.
func (s *Secrets) Random() io.Reader { return s.random }

// Request identifies a request that its sender may repeat.
type Request struct {
	Purpose string // the kind of secret that the request creates
	Actor   string // the sender
	Key     string // the sender's idempotency key; "" if the request is never repeated
}

// Draw fills raw, of at most 64 bytes. Without a key the bytes are random. With
// a key they are derived from the request and a secret of this rendezvous: a
// repeated request yields the same bytes, although no store keeps them.
func (s *Secrets) Draw(ctx context.Context, r Request, raw []byte) error {
	if r.Key == "" {
		return s.Fill(raw)
	}
	secret, err := s.Secret(ctx, "idempotency")
	if err != nil {
		return err
	}
	mac := hmac.New(sha512.New, secret)
	for _, part := range []string{r.Purpose, r.Actor, r.Key} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	copy(raw, mac.Sum(nil))
	return nil
}
