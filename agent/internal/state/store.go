package state

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

const (
	keyFile   = "key"
	stateFile = "state.json"
	lockFile  = "lock"

	maxKeyFile = 256 // bytes
)

// ErrLocked is returned by [Open] when another daemon uses the directory.
var ErrLocked = errors.New("another easyfind daemon uses it: stop that one, or give this one its own with --state")

// BrokenError reports a file of the state directory that cannot be used. The file
// is left unchanged.
type BrokenError struct {
	File string // its path
	Do   string // the advice for a person
	Err  error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("%s cannot be read (%v): %s", e.File, e.Err, e.Do)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// Store is an open state directory. Its methods may be called concurrently.
type Store struct {
	dir  string
	key  ident.Key
	lock io.Closer

	mu       sync.Mutex // guards the fields below
	state    State
	watchers map[*watcher]bool
}

// Open reads the state directory and locks it until Close, so that a second
// daemon is refused. It creates the directory and the key if they are missing.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	lock, err := lockDir(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	}
	s := &Store{dir: dir, lock: lock, watchers: map[*watcher]bool{}}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *Store) load() error {
	var err error
	if s.key, err = loadKey(filepath.Join(s.dir, keyFile)); err != nil {
		return err
	}
	s.state, err = loadState(filepath.Join(s.dir, stateFile))
	return err
}

// Close unlocks the directory.
func (s *Store) Close() error {
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// Key returns the key of this peer.
func (s *Store) Key() ident.Key { return s.key }

// State returns a copy of the state.
func (s *Store) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.clone()
}

// Peer returns the paired peer with that ID.
func (s *Store) Peer(id ident.PeerID) (Peer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.state.Peer(id)
	p.Addresses = slices.Clone(p.Addresses)
	return p, ok
}

// PeerName returns the name of a paired peer, or the short ID of another one.
func (s *Store) PeerName(id ident.PeerID) string {
	if p, ok := s.Peer(id); ok {
		return p.Name
	}
	return id.Short()
}

// change applies f to a copy of the state and writes the copy to the disk. Only
// then does the copy become the state, and the watchers are notified.
func (s *Store) change(f func(*State) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.state.clone()
	if err := f(&next); err != nil {
		return err
	}
	if err := next.check(); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := writeFile(filepath.Join(s.dir, stateFile), append(raw, '\n')); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	parts := changedParts(s.state, next)
	s.state = next
	s.notify(parts)
	return nil
}

var errNotBase64 = errors.New("it is not base64")

// loadKey reads the key. It creates the key if the file is missing.
func loadKey(name string) (ident.Key, error) {
	raw, err := readFile(name, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(name)
	}
	const do = "put your copy of it back; or move it away to begin as a new peer that must be paired again"
	if err != nil {
		return ident.Key{}, &BrokenError{name, do, err}
	}
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil {
		return ident.Key{}, &BrokenError{name, do, errNotBase64} // the decoder's error may quote a part of the key
	}
	key, err := ident.KeyFromSeed(seed)
	if err != nil {
		return ident.Key{}, &BrokenError{name, do, err}
	}
	return key, nil
}

func makeKey(name string) (ident.Key, error) {
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		return ident.Key{}, err
	}
	if err := writeFile(name, []byte(base64.StdEncoding.EncodeToString(key.Seed())+"\n")); err != nil {
		return ident.Key{}, fmt.Errorf("new key: %w", err)
	}
	return key, nil
}

func loadState(name string) (State, error) {
	empty := State{Version: version, Peers: []Peer{}, Shares: []Share{}, Uses: []Use{}}
	raw, err := readFile(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	var s State
	if err == nil {
		s, err = decode(raw)
	}
	if err != nil {
		const do = "correct it, put your copy of it back, or move it away to begin without peers and shares"
		return State{}, &BrokenError{name, do, err}
	}
	return s, nil
}

// decode reads a state file. It refuses unknown fields, and data after the state.
func decode(raw []byte) (State, error) {
	var s State
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return State{}, fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return State{}, fmt.Errorf("at byte %d: something follows the state", d.InputOffset())
	}
	return s, s.check()
}
