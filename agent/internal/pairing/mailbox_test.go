package pairing

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// memoryMailboxes implements HostMailbox and ClientMailbox in memory, like an
// honest rendezvous. The hooks make it hostile: they change messages.
type memoryMailboxes struct {
	maxTries int // MaxTries, or more if the rendezvous is hostile
	lifetime time.Duration

	hooks

	// Guarded by mu.
	mu       sync.Mutex
	down     error // if set, every call returns it
	boxes    map[ident.Address]*box
	answered int // number of calls of Answer
}

// hooks change messages before they are stored. Each may be nil.
type hooks struct {
	onTry     func(opening []byte) []byte
	onAnswer  func(answer []byte) []byte
	onConfirm func(confirmation []byte) []byte
}

type box struct {
	expires time.Time
	tries   []api.Try
	changed chan struct{} // closed and replaced by every change
}

func newMemory() *memoryMailboxes {
	return &memoryMailboxes{maxTries: MaxTries, lifetime: Lifetime, boxes: map[ident.Address]*box{}}
}

// with calls f with a mailbox while it holds mu.
func (m *memoryMailboxes) with(a ident.Address, f func(*box) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.boxes[a]
	switch {
	case m.down != nil:
		return m.down
	case b == nil:
		return api.NewProblem(api.CodeMailboxNotFound)
	case time.Now().After(b.expires):
		return api.NewProblem(api.CodeMailboxExpired)
	}
	return f(b)
}

// change is like with, and wakes the calls of wait.
func (m *memoryMailboxes) change(a ident.Address, f func(*box) error) error {
	return m.with(a, func(b *box) error {
		close(b.changed)
		b.changed = make(chan struct{})
		return f(b)
	})
}

// wait calls ready at once and after every change, until it returns true or
// api.MaxWait has passed.
func (m *memoryMailboxes) wait(ctx context.Context, a ident.Address, ready func(*box) bool) error {
	timeout := time.NewTimer(api.MaxWait)
	defer timeout.Stop()
	for {
		var changed chan struct{}
		done := false
		err := m.with(a, func(b *box) error { changed, done = b.changed, ready(b); return nil })
		if err != nil || done {
			return err
		}
		select {
		case <-changed:
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memoryMailboxes) Open(context.Context) (api.Mailbox, error) {
	a, err := ident.NewAddress(rand.Reader)
	if err != nil {
		return api.Mailbox{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &box{expires: time.Now().Add(m.lifetime), changed: make(chan struct{})}
	m.boxes[a] = b
	return api.Mailbox{Address: a, Expires: b.expires}, nil
}

func (m *memoryMailboxes) Close(_ context.Context, a ident.Address) error {
	return m.change(a, func(*box) error { delete(m.boxes, a); return nil })
}

func (m *memoryMailboxes) Tries(ctx context.Context, a ident.Address, after int) (tries []api.Try, err error) {
	err = m.wait(ctx, a, func(b *box) bool {
		tries = slices.Clone(b.tries[min(after, len(b.tries)):])
		return len(tries) > 0
	})
	return tries, err
}

// Result waits for the answer only: it cannot distinguish host and client. The
// host polls for the confirmation.
func (m *memoryMailboxes) Result(ctx context.Context, a ident.Address, n int) (t api.Try, err error) {
	err = m.wait(ctx, a, func(b *box) bool {
		t = b.tries[n-1]
		return t.Answer != nil
	})
	return t, err
}

func (m *memoryMailboxes) Try(_ context.Context, a ident.Address, opening []byte) (t api.Try, err error) {
	return t, m.change(a, func(b *box) error {
		if len(b.tries) >= m.maxTries {
			return api.NewProblem(api.CodeMailboxBurned)
		}
		t = api.Try{Number: len(b.tries) + 1, Opening: through(m.onTry, opening)}
		b.tries = append(b.tries, t)
		return nil
	})
}

func (m *memoryMailboxes) Answer(_ context.Context, a ident.Address, n int, answer []byte) error {
	return m.change(a, func(b *box) error {
		m.answered++
		b.tries[n-1].Answer = through(m.onAnswer, answer)
		return nil
	})
}

func (m *memoryMailboxes) Confirm(_ context.Context, a ident.Address, n int, confirmation []byte) error {
	return m.change(a, func(b *box) error {
		b.tries[n-1].Confirmation = through(m.onConfirm, confirmation)
		return nil
	})
}

// setDown makes the rendezvous fail, or work again.
func (m *memoryMailboxes) setDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

func through(hook func([]byte) []byte, raw []byte) []byte {
	if hook != nil {
		raw = hook(raw)
	}
	return raw
}
