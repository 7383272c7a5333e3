package httpapi

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// observe reports each request to an observer.
func observe(o Observer) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			recorder := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
			o.Requests(1)
			defer func() {
				o.Requests(-1)
				route := chi.RouteContext(r.Context()).RoutePattern()
				status := recorder.Status()
				if status == 0 {
					status = http.StatusOK // the handler wrote no body
				}
				if status == http.StatusNotFound || status == http.StatusMethodNotAllowed {
					if !takes(r, r.Method) {
						route = ""
					}
				}
				o.Request(r.Method, route, status, time.Since(began))
			}()
			next.ServeHTTP(recorder, r)
		})
	}
}

// setHeaders sets the headers that every answer has.
func setHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// recoverPanics answers 500 if a handler panics, and logs the panic.
func recoverPanics(logger *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				switch v := recover(); v {
				case nil:
				case http.ErrAbortHandler:
					panic(v)
				default:
					logger.Error("handler panicked", "method", r.Method, "panic", v)
					write(w, api.NewProblem(api.CodeInternal))
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
}

func notFound(w http.ResponseWriter, _ *http.Request) { write(w, api.NewProblem(api.CodeNoRoute)) }

// methods are all methods that any URL path takes.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
}

// methodNotAllowed answers a request whose URL path does not take its method. It
// lists the methods that the path takes (RFC 9110 section 15.5.6).
func methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range methods {
		if takes(r, m) {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		notFound(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	write(w, api.NewProblem(api.CodeMethod))
}

// takes reports whether the URL path of a request takes a method. HEAD is answered
// like GET.
func takes(r *http.Request, method string) bool {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	return chi.RouteContext(r.Context()).Routes.Match(chi.NewRouteContext(), method, path)
}
