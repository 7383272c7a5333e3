package pairing

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// memory is a mailbox as an honest rendezvous keeps it, and a hostile one if
// its hooks are set: they may change what passes.
type memory struct {
	maxTries int // a hostile rendezvous need not count
	lifetime time.Duration

	onTry     func(opening []byte) []byte
	onAnswer  func(try string, answer []byte) []byte
	onConfirm func(confirmation []byte) []byte

	mu       sync.Mutex // guards what follows
	boxes    map[ident.Address]*box
	answered int
}

type box struct {
	expires time.Time
	tries   []Try
	answers map[string][]byte
}

func newMemory() *memory {
	return &memory{maxTries: MaxTries, lifetime: Lifetime, boxes: map[ident.Address]*box{}}
}

func (m *memory) box(a ident.Address) (*box, error) {
	b := m.boxes[a]
	switch {
	case b == nil:
		return nil, ErrUnknownAddress
	case time.Now().After(b.expires):
		return nil, ErrExpired
	}
	return b, nil
}

func (m *memory) OpenMailbox(context.Context) (ident.Address, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := ident.NewAddress(rand.Reader)
	if err != nil {
		return "", time.Time{}, err
	}
	b := &box{expires: time.Now().Add(m.lifetime), answers: map[string][]byte{}}
	m.boxes[a] = b
	return a, b.expires, nil
}

func (m *memory) CloseMailbox(_ context.Context, a ident.Address) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.boxes, a)
	return nil
}

func (m *memory) Tries(_ context.Context, a ident.Address) ([]Try, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.box(a)
	if err != nil {
		return nil, err
	}
	return append([]Try(nil), b.tries...), nil
}

func (m *memory) Answer(_ context.Context, a ident.Address, try string, answer []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.box(a)
	if err != nil {
		return err
	}
	m.answered++
	if m.onAnswer != nil {
		answer = m.onAnswer(try, answer)
	}
	b.answers[try] = answer
	return nil
}

func (m *memory) Try(_ context.Context, a ident.Address, opening []byte) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.box(a)
	if err != nil {
		return "", err
	}
	if len(b.tries) >= m.maxTries {
		return "", ErrBurned
	}
	if m.onTry != nil {
		opening = m.onTry(opening)
	}
	id := fmt.Sprint("try-", len(b.tries))
	b.tries = append(b.tries, Try{ID: id, Opening: opening})
	return id, nil
}

func (m *memory) Result(_ context.Context, a ident.Address, try string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.box(a)
	if err != nil {
		return nil, err
	}
	return b.answers[try], nil
}

func (m *memory) Confirm(_ context.Context, a ident.Address, try string, confirmation []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.box(a)
	if err != nil {
		return err
	}
	if m.onConfirm != nil {
		confirmation = m.onConfirm(confirmation)
	}
	for i := range b.tries {
		if b.tries[i].ID == try {
			b.tries[i].Confirmation = confirmation
		}
	}
	return nil
}
