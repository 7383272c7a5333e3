package rvclient

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestRefusedWebSocketIsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		retryAfter string
		body       string
		want       string
		pause      time.Duration
	}{
		"web server":           {404, "", "<h1>nothing here</h1>", "is it a rendezvous", 0},
		"web page":             {200, "", "<h1>hello</h1>", "is it a rendezvous", 0},
		"full rendezvous":      {503, "7", "no more connections\n", "no more connections", 7 * time.Second},
		"proxy without server": {502, "", "<html>\n<h1>Bad Gateway", "502", 0},
		"rate limit":           {429, "60", `{"code":"rate_limited"}`, "429", time.Minute},
		"huge Retry-After":     {503, "99999999", "", "503", signal.MaxPause},
		"negative Retry-After": {503, "-1", "\x1b[2J", "503", 0},
	} {
		response := &http.Response{
			StatusCode: c.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(c.body)),
		}
		response.Status = fmt.Sprintf("%d %s", c.status, http.StatusText(c.status))
		response.Header.Set("Retry-After", c.retryAfter)
		err := refusal(response, errors.New("no upgrade"))
		text := err.Error()
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(text, c.want) || strings.ContainsAny(text, "<\x1b") {
			t.Errorf("%s: %v", name, err)
		}
		if got := retryAfterOf(err); got != c.pause {
			t.Errorf("%s: retry after %s, want %s", name, got, c.pause)
		}
	}
	if err := refusal(nil, io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) || retryAfterOf(err) != 0 {
		t.Errorf("without a response: %v", err)
	}
	p := api.NewProblem(api.CodeUnavailable)
	p.RetryAfter = 3 * time.Second
	if got := retryAfterOf(classify(p)); got != p.RetryAfter {
		t.Errorf("retry after %s for a problem, want %s", got, p.RetryAfter)
	}
}
