package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

const (
	// quiet is how long a stream says nothing before it sends a comment, so that
	// proxies keep it and a lost browser is noticed.
	quiet = 15 * time.Second
	// share bounds what one open page costs: it is rendered again after at least
	// so many times as long as that takes.
	share      = 20
	writeLimit = 10 * time.Second // of one event
)

// watch streams a page: an event "page" with its contents at once and whenever
// they have changed, and "gone" when the session has ended.
func (p *Pages) watch(w http.ResponseWriter, r *http.Request, one page) {
	select {
	case p.watching <- struct{}{}:
		defer func() { <-p.watching }()
	default:
		w.Header().Set("Retry-After", "30")
		p.refuse(w, r, http.StatusServiceUnavailable, "Too many pages are open. Close some.")
		return
	}
	s := stream{w: w, control: http.NewResponseController(w)}
	defer s.end()
	if err := s.begin(); err != nil {
		return
	}
	var last [sha256.Size]byte
	for {
		began := time.Now()
		main, err := p.again(r, one)
		switch sum := sha256.Sum256(main); {
		case errors.Is(err, registry.ErrUnauthenticated):
			_ = s.event("gone", nil) // who watched has gone: nothing to do
			return
		case err != nil:
			text, _ := p.words(r.Context(), err)
			err = s.event("problem", []byte(text))
			last = [sha256.Size]byte{}
		case sum != last:
			err = s.event("page", main)
			last = sum
		default:
			err = s.breathe()
		}
		if err != nil || !pause(r.Context(), max(p.cfg.Every, share*time.Since(began))) {
			return
		}
	}
}

// again renders a page for a session that may have ended meanwhile.
func (p *Pages) again(r *http.Request, one page) ([]byte, error) {
	session, err := p.session(r)
	if err != nil {
		return nil, err
	}
	if !session.Scopes.Covers(one.scope) {
		return nil, registry.ErrUnauthenticated
	}
	v := p.view(r, one)
	v.Live = true
	main, err := p.main(v)
	return []byte(main), err
}

// gone tells a page that its session has ended.
func (p *Pages) gone(w http.ResponseWriter) {
	s := stream{w: w, control: http.NewResponseController(w)}
	defer s.end()
	if s.begin() == nil {
		_ = s.event("gone", nil) // who watched has gone: nothing to do
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// stream is a stream of events (HTML standard, section 9.2).
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	spoke   time.Time
}

func (s *stream) begin() error {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // nginx passes on what comes as it comes
	s.w.WriteHeader(http.StatusOK)
	// The time for reading the request is over long before the stream is.
	if err := s.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return s.send([]byte("retry: 3000\n\n"))
}

// end lets the connection be used for other requests.
func (s *stream) end() {
	_ = s.control.SetWriteDeadline(time.Time{}) // a connection that is lost has no other requests
}

func (s *stream) event(name string, data []byte) error {
	b := fmt.Appendf(nil, "event: %s\n", name)
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		b = append(append(append(b, "data: "...), line...), '\n')
	}
	return s.send(append(b, '\n'))
}

// breathe sends a comment if nothing was sent for long.
func (s *stream) breathe() error {
	if time.Since(s.spoke) < quiet {
		return nil
	}
	return s.send([]byte(":\n\n"))
}

func (s *stream) send(b []byte) error {
	s.spoke = time.Now()
	if err := s.control.SetWriteDeadline(s.spoke.Add(writeLimit)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.control.Flush()
}
