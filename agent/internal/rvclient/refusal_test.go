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

func TestARefusedWebSocketIsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		retryAfter string
		body       string
		want       string
		pause      time.Duration
	}{
		"a web server":        {404, "", "<h1>nothing here</h1>", "is it a rendezvous", 0},
		"a page":              {200, "", "<h1>hello</h1>", "is it a rendezvous", 0},
		"a full rendezvous":   {503, "7", "this instance takes no signalling connections\n", "takes no signalling connections", 7 * time.Second},
		"a proxy on its own":  {502, "", "<html>\n<h1>Bad Gateway", "502", 0},
		"too many":            {429, "60", `{"code":"rate_limited"}`, "429", time.Minute},
		"a pause without end": {503, "99999999", "", "503", signal.MaxPause},
		"a pause that is bad": {503, "-1", "\x1b[2J", "503", 0},
	} {
		answer := &http.Response{
			StatusCode: c.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(c.body)),
		}
		answer.Status = fmt.Sprintf("%d %s", c.status, http.StatusText(c.status))
		answer.Header.Set("Retry-After", c.retryAfter)
		err := refusal(answer, errors.New("no upgrade"))
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "<\x1b") {
			t.Errorf("%s: %v", name, err)
		}
		if got := pauseOf(err); got != c.pause {
			t.Errorf("%s: a pause of %s, want %s", name, got, c.pause)
		}
	}
	if err := refusal(nil, io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) || pauseOf(err) != 0 {
		t.Errorf("no answer: %v", err)
	}
	p := api.NewProblem(api.CodeUnavailable)
	p.RetryAfter = 3 * time.Second
	if got := pauseOf(meaning(p)); got != p.RetryAfter {
		t.Errorf("a problem's pause is %s", got)
	}
}
