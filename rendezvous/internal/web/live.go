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
	// maxStreams bounds the event streams of this instance.
	maxStreams = 128
	// keepAliveInterval is the time after which an idle stream sends a comment, so
	// that proxies keep the connection and a lost browser is detected.
	keepAliveInterval = 15 * time.Second
	// renderPause bounds the cost of an open page: the pause before it is rendered
	// again is at least this multiple of the time that rendering took.
	renderPause  = 20
	writeTimeout = 10 * time.Second // of one event
)

// streams keeps open pages up to date.
type streams struct {
	renderer *renderer
	signIns  *signIns
	slots    chan struct{} // holds one element for each stream
	interval time.Duration
}

// serve streams a page. It sends the event "page" with the contents immediately and
// after each change, and "gone" when the sign-in has ended.
func (s *streams) serve(w http.ResponseWriter, r *http.Request, one page) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		w.Header().Set("Retry-After", "30")
		s.renderer.refuse(w, http.StatusServiceUnavailable, "Too many pages are open. Close some of them.")
		return
	}
	out := newStream(w)
	defer out.end()
	if err := out.begin(); err != nil {
		return
	}
	var last [sha256.Size]byte
	for {
		began := time.Now()
		main, err := s.render(r, one)
		switch sum := sha256.Sum256(main); {
		case errors.Is(err, registry.ErrUnauthenticated):
			_ = out.event("gone", nil) // fails only if the client is gone
			return
		case err != nil:
			text, _ := s.renderer.describe(r.Context(), err)
			err = out.event("problem", []byte(text))
			last = [sha256.Size]byte{}
		case sum != last:
			err = out.event("page", main)
			last = sum
		default:
			err = out.keepAlive()
		}
		if err != nil || !pause(r.Context(), max(s.interval, renderPause*time.Since(began))) {
			return
		}
	}
}

// render renders a page again. It checks the sign-in first, because that may have
// ended since the last time.
func (s *streams) render(r *http.Request, one page) ([]byte, error) {
	signIn, err := s.signIns.current(r)
	if err != nil {
		return nil, err
	}
	if !signIn.Scopes.Covers(one.scope) {
		return nil, registry.ErrUnauthenticated
	}
	v := s.renderer.view(r, one)
	v.Live = true
	main, err := s.renderer.main(v)
	return []byte(main), err
}

// sendGone answers a request for a stream whose sign-in has ended.
func sendGone(w http.ResponseWriter) {
	s := newStream(w)
	defer s.end()
	if s.begin() == nil {
		_ = s.event("gone", nil) // fails only if the client is gone
	}
}

// pause waits. It returns false if ctx ends first.
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

// stream is one stream of events (HTML standard, section 9.2).
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sent    time.Time // the time of the last write
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, control: http.NewResponseController(w)}
}

func (s *stream) begin() error {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // makes nginx forward each event immediately
	s.w.WriteHeader(http.StatusOK)
	// The stream lasts longer than the server's deadline for reading the request.
	if err := s.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return s.send([]byte("retry: 3000\n\n"))
}

// end makes the connection usable for other requests.
func (s *stream) end() {
	_ = s.control.SetWriteDeadline(time.Time{}) // fails only if the connection is lost
}

func (s *stream) event(name string, data []byte) error {
	b := fmt.Appendf(nil, "event: %s\n", name)
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		b = append(append(append(b, "data: "...), line...), '\n')
	}
	return s.send(append(b, '\n'))
}

// keepAlive sends a comment if the stream has been idle for keepAliveInterval.
func (s *stream) keepAlive() error {
	if time.Since(s.sent) < keepAliveInterval {
		return nil
	}
	return s.send([]byte(":\n\n"))
}

func (s *stream) send(b []byte) error {
	s.sent = time.Now()
	if err := s.control.SetWriteDeadline(s.sent.Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.control.Flush()
}
