package rvclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Bounds of the REST calls.
const (
	callTimeout = 15 * time.Second // for a call that does not wait for an event
	maxAnswer   = 256 << 10        // bytes of a response body
)

// rest makes REST calls and registers the peer for them. Methods may be called
// concurrently.
type rest struct {
	// Constant after newREST.
	join   api.JoinLink
	key    ident.Key
	name   string
	dialer *dialer
	client *http.Client

	// Guarded by registering, which is also held during a registration.
	registering sync.Mutex
	token       string // empty if the peer is not registered
}

func newREST(join api.JoinLink, key ident.Key, name string, d *dialer) *rest {
	config := d.tls.Clone()
	config.NextProtos = []string{alpnHTTP}
	transport := &http.Transport{
		DialContext: d.tcp, TLSClientConfig: config, IdleConnTimeout: time.Minute, MaxConnsPerHost: 32,
	}
	return &rest{join: join, key: key, name: name, dialer: d, client: &http.Client{Transport: transport}}
}

// call is one request. in is sent as JSON and out is decoded from JSON; both may
// be nil.
type call struct {
	method, path string
	in, out      any
	wait         time.Duration // for which the server may wait for an event; see callTimeout
}

// do makes a call with the peer's token. It registers the peer first if there is
// no token, and once more if the rendezvous does not accept the token.
func (r *rest) do(ctx context.Context, c call) error {
	token, err := r.credential(ctx, "")
	if err != nil {
		return err
	}
	err = r.send(ctx, r.client, c, token)
	if !isProblem(err, api.CodeUnauthenticated) {
		return err
	}
	if token, err = r.credential(ctx, token); err != nil {
		return err
	}
	return r.send(ctx, r.client, c, token)
}

// credential returns the token. It registers the peer if the token is stale, the
// token that the rendezvous did not accept; "" means that there was none.
func (r *rest) credential(ctx context.Context, stale string) (string, error) {
	r.registering.Lock()
	defer r.registering.Unlock()
	if r.token != stale {
		return r.token, nil
	}
	token, err := r.register(ctx)
	if err != nil {
		return "", err
	}
	r.token = token
	return token, nil
}

// forget drops the token because the rendezvous no longer knows the peer.
func (r *rest) forget() {
	r.registering.Lock()
	defer r.registering.Unlock()
	r.token = ""
}

// send makes one request and decodes its response into c.out. The token may be
// empty. Errors wrap an error of this package and, if the rendezvous sent one, an
// *api.Problem.
func (r *rest) send(ctx context.Context, client *http.Client, c call, token string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout+c.wait)
	defer cancel()
	var body io.Reader
	if c.in != nil {
		raw, err := json.Marshal(c.in)
		if err != nil {
			return fmt.Errorf("request to the rendezvous: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, "https://"+r.join.Host+c.path, body)
	if err != nil {
		return fmt.Errorf("request to the rendezvous: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	return decode(res, c.out)
}

// decode decodes the body of a response into out, or returns it as an error.
func decode(res *http.Response, out any) error {
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%w: read the response: %w", ErrUnavailable, err)
	}
	if len(raw) > maxAnswer {
		return fmt.Errorf("%w: its response has more than %d bytes", ErrUnavailable, maxAnswer)
	}
	if res.StatusCode/100 != 2 {
		return problemOf(res, raw)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%w: its response does not follow the API: %w", ErrUnavailable, err)
	}
	return nil
}

// problemOf converts a response with an error status. A proxy or another web
// server may have sent it, so it need not contain a problem.
func problemOf(res *http.Response, raw []byte) error {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	p := &api.Problem{}
	if kind != api.ContentType || json.Unmarshal(raw, p) != nil || p.Code == "" {
		return fmt.Errorf("%w: it answers %s, which is not an answer of a rendezvous", ErrUnavailable, res.Status)
	}
	p.Status = res.StatusCode
	p.RetryAfter = retryAfter(res.Header)
	return classify(p)
}

// classify wraps the error of this package that the problem's code stands for.
func classify(p *api.Problem) error {
	switch p.Code {
	case api.CodeInviteNeeded, api.CodeInvite, api.CodeSignature, api.CodeBinding, api.CodeOrigin,
		api.CodeChallenge, api.CodeRevoked:
		return fmt.Errorf("%w: %w", ErrRefused, p)
	case api.CodePeerNotFound:
		return fmt.Errorf("%w: %w", ErrNotAllowed, p)
	case api.CodeMailboxNotFound, api.CodeMailboxExpired, api.CodeMailboxClosed, api.CodeMailboxBurned:
		return fmt.Errorf("%w: %w", ErrNoMailbox, p)
	case api.CodeRateLimited:
		return fmt.Errorf("%w: %w", ErrBusy, p)
	case api.CodeUnavailable, api.CodeFull, api.CodeInternal, api.CodeTimeout:
		return fmt.Errorf("%w: %w", ErrUnavailable, p)
	}
	return p
}

func isProblem(err error, code api.Code) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Code == code
}
