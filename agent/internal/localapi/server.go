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
	// eventTime bounds the writing of one line to a reader that does not read.
	eventTime = 10 * time.Second
)

// errStopped is what is left to say to the clients of an agent that ends.
var errStopped = &Problem{CodeNotRunning, "the agent was stopped in the middle of it: start it again with: easyfind up"}

// Config is what a server needs.
type Config struct {
	Socket  string // path of the unix socket
	Backend Backend
	Logger  *slog.Logger
}

// Server serves a Backend on a unix socket.
type Server struct {
	cfg   Config
	ready chan struct{}
}

// NewServer checks the configuration.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Socket == "" || cfg.Backend == nil {
		return nil, errors.New("local interface: no socket or no backend")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, ready: make(chan struct{})}, nil
}

// Ready is closed when the socket takes connections.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, whose end every operation in progress sees, and
// removes the socket. It is called once.
func (s *Server) Run(ctx context.Context) error {
	ln, err := listen(ctx, s.cfg.Socket)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s.handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: eventTime,
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
		s.shut(server)
	})
	err = server.Serve(ln)
	close(done)
	closer.Wait()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(s.cfg.Socket))
}

// shut waits for the handlers, which the end of the context ends.
func (s *Server) shut(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), eventTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.cfg.Logger.Warn("local interface: a client was cut off", "error", errors.Join(err, server.Close()))
	}
}

func (s *Server) handler() http.Handler {
	b, mux := s.cfg.Backend, http.NewServeMux()
	mux.HandleFunc("GET /v1/status", get(func(r *http.Request) (Status, error) { return b.Status(r.Context()) }))
	mux.HandleFunc("GET /v1/doctor", get(func(r *http.Request) ([]doctor.Finding, error) { return b.Doctor(r.Context()) }))
	mux.HandleFunc("GET /v1/devices", get(func(r *http.Request) ([]Device, error) { return b.Devices(r.Context()) }))
	mux.HandleFunc("POST /v1/shares", with(b.Share))
	mux.HandleFunc("DELETE /v1/shares", remove("device", b.Unshare))
	mux.HandleFunc("GET /v1/peers", get(func(r *http.Request) ([]Peer, error) { return b.Peers(r.Context()) }))
	mux.HandleFunc("DELETE /v1/peers", remove("peer", b.Forget))
	mux.HandleFunc("PUT /v1/peers/addresses", with(func(ctx context.Context, r ReachRequest) (Peer, error) {
		r, err := r.direct()
		if err != nil {
			return Peer{}, err
		}
		return b.Reach(ctx, r)
	}))
	mux.HandleFunc("GET /v1/remote-devices", get(func(r *http.Request) ([]RemoteDevice, error) {
		return b.RemoteDevices(r.Context(), r.URL.Query().Get("peer"))
	}))
	mux.HandleFunc("POST /v1/uses", stream(b.Use))
	mux.HandleFunc("DELETE /v1/uses", remove("use", b.Release))
	mux.HandleFunc("POST /v1/pairings/offer", stream(func(ctx context.Context, _ struct{}, progress func(Progress)) (Peer, error) {
		return b.OfferPairing(ctx, progress)
	}))
	mux.HandleFunc("POST /v1/pairings/join", stream(b.JoinPairing))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, &Problem{CodeInvalid, "the agent does not know this request: are the program and the running agent of the same version?"})
	})
	return mux
}

// get answers with what f returns.
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

// with reads a body and answers with what f returns.
func with[B, T any](f func(context.Context, B) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := read[B](w, r)
		if err != nil {
			fail(w, ProblemOf(err))
			return
		}
		get(func(r *http.Request) (T, error) { return f(r.Context(), body) })(w, r)
	}
}

// remove passes one parameter of the query to f.
func remove(parameter string, f func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get(parameter)
		if name == "" {
			fail(w, &Problem{CodeInvalid, "the request does not say which " + parameter})
			return
		}
		if err := f(r.Context(), name); err != nil {
			fail(w, ProblemOf(err))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// stream answers with events as f reports them, and ends with its result.
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
		var mu sync.Mutex // of the writer
		say := func(e Event[T]) {
			mu.Lock()
			defer mu.Unlock()
			control := http.NewResponseController(w)
			err := control.SetWriteDeadline(time.Now().Add(eventTime))
			if err == nil {
				err = json.NewEncoder(w).Encode(e)
			}
			if err == nil {
				err = control.Flush()
			}
			if err != nil {
				cancel() // nobody listens
			}
		}
		result, err := f(ctx, body, func(p Progress) { say(Event[T]{Progress: &p}) })
		if err != nil && r.Context().Err() != nil {
			err = errStopped
		}
		if err != nil {
			say(Event[T]{Problem: ProblemOf(err)})
			return
		}
		say(Event[T]{Result: &result})
	}
}

// read decodes a bounded body: known fields only. An empty one is the zero value.
func read[B any](w http.ResponseWriter, r *http.Request) (B, error) {
	var body B
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		return body, &Problem{CodeInvalid, "the agent cannot read the request (" + err.Error() + "): are the program and the running agent of the same version?"}
	}
	return body, nil
}

func fail(w http.ResponseWriter, p *Problem) { write(w, p.status(), p) }

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has hung up
}
