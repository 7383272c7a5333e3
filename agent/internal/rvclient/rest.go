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
)

// Bounds of the REST calls.
const (
	callTimeout = 15 * time.Second // of a call that does not wait for an event
	maxAnswer   = 256 << 10        // bytes of an answer
)

// rest makes the REST calls. Its methods may be called concurrently.
type rest struct {
	base     string // https://host:port
	client   *http.Client
	register func(context.Context) (token string, err error)

	// Guarded by renewing: one registration at a time.
	renewing sync.Mutex
	token    string
}

// call is one request. In and out are JSON; nil is none.
type call struct {
	method, path string
	in, out      any
	wait         time.Duration // how long the server may wait for an event
}

// do makes a call with the peer's token, registering first if there is none and
// once again if it is no longer good.
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

// credential returns a token other than the stale one.
func (r *rest) credential(ctx context.Context, stale string) (string, error) {
	r.renewing.Lock()
	defer r.renewing.Unlock()
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

// forget drops the token: the rendezvous does not know the peer any more.
func (r *rest) forget() {
	r.renewing.Lock()
	defer r.renewing.Unlock()
	r.token = ""
}

// send makes one request and reads its answer.
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
	req, err := http.NewRequestWithContext(ctx, c.method, r.base+c.path, body)
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
	return answer(res, c.out)
}

// answer reads the body of a response into out, or the problem it is.
func answer(res *http.Response, out any) error {
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%w: read the answer: %w", ErrUnavailable, err)
	}
	if len(raw) > maxAnswer {
		return fmt.Errorf("%w: its answer is larger than %d bytes", ErrUnavailable, maxAnswer)
	}
	if res.StatusCode/100 != 2 {
		return problemOf(res, raw)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%w: its answer is not what the contract says: %w", ErrUnavailable, err)
	}
	return nil
}

// problemOf reads an error answer; something else than our rendezvous may have
// written it.
func problemOf(res *http.Response, raw []byte) error {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	p := &api.Problem{}
	if kind != api.ContentType || json.Unmarshal(raw, p) != nil || p.Code == "" {
		return fmt.Errorf("%w: it answers %s, which is not a rendezvous's answer", ErrUnavailable, res.Status)
	}
	p.Status = res.StatusCode
	p.RetryAfter = retryAfter(res.Header)
	return meaning(p)
}

// meaning wraps a problem in the error by which this package's callers decide.
func meaning(p *api.Problem) error {
	switch p.Code {
	case api.CodeInviteNeeded, api.CodeInvite, api.CodeSignature, api.CodeBinding, api.CodeOrigin, api.CodeChallenge, api.CodeRevoked:
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
