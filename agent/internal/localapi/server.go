package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/internal/doctor"
)

const (
	maxBody = 64 << 10 // bytes of a request
	// clientTimeout bounds the time that a slow client gets to send a request header
	// or to read one event.
	clientTimeout = 10 * time.Second
)

// errStopped is the problem of an operation that the agent did not finish.
var errStopped = &Problem{
	CodeNotRunning, "the agent stopped before it finished the operation: start it again with: easyfind up",
}

// sameVersion is the advice for a request that the agent does not understand.
const sameVersion = "are the program and the running agent of the same version?"

// Config holds the settings of a [Server].
type Config struct {
	Socket  string // path of the unix socket
	Backend Backend
	Logger  *slog.Logger // nil: nothing is logged
}

// Server serves a Backend on a unix socket.
type Server struct {
	cfg   Config
	ready chan struct{}
}

// NewServer creates a server. Run starts it.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Socket == "" || !cfg.Backend.isComplete() {
		return nil, errors.New("local API: no socket or an incomplete backend")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, ready: make(chan struct{})}, nil
}

// Ready returns a channel that is closed when the socket accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves requests until ctx ends, which also cancels the operations in progress.
// Then it removes the socket. It is called once.
func (s *Server) Run(ctx context.Context) error {
	ln, err := listen(ctx, s.cfg.Socket)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s.handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: clientTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	close(s.ready)
	var closer sync.WaitGroup
	done := make(chan struct{})
	closer.Go(func() {
		select {
		case <-ctx.Done():
		case <-done:
		}
		s.shutDown(server)
	})
	err = server.Serve(ln)
	close(done)
	closer.Wait()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(s.cfg.Socket))
}

// shutDown waits for the handlers. Their contexts have ended.
func (s *Server) shutDown(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.cfg.Logger.Warn("closed the connection of a slow client", "err", errors.Join(err, server.Close()))
	}
}

func (s *Server) handler() http.Handler {
	b, mux := s.cfg.Backend, http.NewServeMux()
	mux.HandleFunc("GET /v1/status", get(func(r *http.Request) (Status, error) {
		return b.Reports.Status(r.Context())
	}))
	mux.HandleFunc("GET /v1/doctor", get(func(r *http.Request) ([]doctor.Finding, error) {
		return b.Reports.Doctor(r.Context())
	}))
	mux.HandleFunc("GET /v1/devices", get(func(r *http.Request) ([]Device, error) {
		return b.Devices.Devices(r.Context())
	}))
	mux.HandleFunc("POST /v1/shares", withBody(b.Devices.Share))
	mux.HandleFunc("DELETE /v1/shares", remove("device", b.Devices.Unshare))
	mux.HandleFunc("GET /v1/peers", get(func(r *http.Request) ([]Peer, error) { return b.Peers.Peers(r.Context()) }))
	mux.HandleFunc("DELETE /v1/peers", remove("peer", b.Peers.Forget))
	mux.HandleFunc("PUT /v1/peers/addresses", withBody(func(ctx context.Context, r ReachRequest) (Peer, error) {
		r, err := r.checked()
		if err != nil {
			return Peer{}, err
		}
		return b.Peers.Reach(ctx, r)
	}))
	mux.HandleFunc("PUT /v1/peers/limit", withBody(b.Peers.Limit))
	mux.HandleFunc("GET /v1/remote-devices", get(func(r *http.Request) ([]RemoteDevice, error) {
		return b.Uses.RemoteDevices(r.Context(), r.URL.Query().Get("peer"))
	}))
	mux.HandleFunc("POST /v1/uses", stream(b.Uses.Use))
	mux.HandleFunc("DELETE /v1/uses", remove("use", b.Uses.Release))
	offer := func(ctx context.Context, _ struct{}, progress func(Progress)) (Peer, error) {
		return b.Pairing.OfferPairing(ctx, progress)
	}
	mux.HandleFunc("POST /v1/pairings/offer", stream(offer))
	mux.HandleFunc("POST /v1/pairings/join", stream(b.Pairing.JoinPairing))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, &Problem{CodeInvalid, "the agent does not know this request: " + sameVersion})
	})
	return mux
}

// get responds with the result of f.
func get[T any](f func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := f(r)
		if err != nil {
			fail(w, ProblemOf(err))
			return
		}
		write(w, http.StatusOK, result)
	}
}

// withBody reads the body of the request and responds with the result of f.
func withBody[B, T any](f func(context.Context, B) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := read[B](w, r)
		if err != nil {
			fail(w, ProblemOf(err))
			return
		}
		get(func(r *http.Request) (T, error) { return f(r.Context(), body) })(w, r)
	}
}

// remove passes a parameter of the query to f and responds without a body.
func remove(parameter string, f func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get(parameter)
		if name == "" {
			fail(w, &Problem{CodeInvalid, "the request does not name the " + parameter})
			return
		}
		if err := f(r.Context(), name); err != nil {
			fail(w, ProblemOf(err))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// stream responds with the progress that f reports, and then with the result of f.
func stream[B, T any](f func(context.Context, B, func(Progress)) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := read[B](w, r)
		if err != nil {
			fail(w, ProblemOf(err))
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		var mu sync.Mutex // guards w
		send := func(e Event[T]) {
			mu.Lock()
			defer mu.Unlock()
			control := http.NewResponseController(w)
			err := control.SetWriteDeadline(time.Now().Add(clientTimeout))
			if err == nil {
				err = json.NewEncoder(w).Encode(e)
			}
			if err == nil {
				err = control.Flush()
			}
			if err != nil {
				cancel() // the client has hung up
			}
		}
		result, err := f(ctx, body, func(p Progress) { send(Event[T]{Progress: &p}) })
		if err != nil && r.Context().Err() != nil {
			err = errStopped
		}
		if err != nil {
			send(Event[T]{Problem: ProblemOf(err)})
			return
		}
		send(Event[T]{Result: &result})
	}
}

// read decodes the body of a request. It refuses unknown fields. An empty body is the
// zero value.
func read[B any](w http.ResponseWriter, r *http.Request) (B, error) {
	var body B
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		return body, &Problem{CodeInvalid, "the agent cannot read the request (" + err.Error() + "): " + sameVersion}
	}
	return body, nil
}

func fail(w http.ResponseWriter, p *Problem) { write(w, p.status(), p) }

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails if the client has hung up
}
