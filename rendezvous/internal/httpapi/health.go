package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// healthHandler answers load balancers and orchestrators.
type healthHandler struct {
	checks []Check
	logger *slog.Logger
}

func (h *healthHandler) live(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok\n")
}

// readyTimeout bounds all checks of one request to /readyz.
const readyTimeout = 3 * time.Second

// ready reports whether the server can work, and names the checks that failed.
// Only the log has the reasons.
func (h *healthHandler) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	status, text := http.StatusOK, ""
	detail := readiness{Checks: map[string]string{}}
	for _, c := range h.checks {
		result := "ok"
		if err := c.Check(ctx); err != nil {
			h.logger.Warn("readiness check failed", "name", c.Name, "err", err)
			status, result = http.StatusServiceUnavailable, "failed"
		}
		text += c.Name + ": " + result + "\n"
		detail.Checks[c.Name] = result
	}
	if status != http.StatusOK {
		later := jittered(retryAfter[api.CodeUnavailable])
		w.Header().Set("Retry-After", strconv.Itoa(int(later.Seconds())))
	}
	if !strings.Contains(r.Header.Get("Accept"), "application/json") {
		writeText(w, status, text)
		return
	}
	detail.Ready = status == http.StatusOK
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(detail) // fails only if the client is gone
}

// readiness is the answer of /readyz to clients that accept JSON.
type readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"` // by name: ok or failed
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // fails only if the client is gone
}
