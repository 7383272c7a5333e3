package swarm

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
)

const maxAnswer = 1 << 20 // bytes

// rest is one HTTP/1.1 connection to the REST interface for one request at a time. It needs
// less processor time than the client of net/http, which would cost more than the server
// that is measured.
type rest struct {
	conn     *tls.Conn
	in       *bufio.Reader
	host     string
	exporter []byte
	closing  bool // the server closes the connection after this answer
}

func (d *dialer) rest(ctx context.Context, source netip.Addr) (*rest, error) {
	conn, _, err := d.dial(ctx, source, anyHost, "http/1.1", nil)
	if err != nil {
		return nil, err
	}
	state := conn.ConnectionState()
	exporter, err := api.Exporter(&state)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &rest{conn: conn, in: bufio.NewReader(conn), host: d.join.Host, exporter: exporter}, nil
}

func (r *rest) close() { r.conn.Close() }

// call makes a request. A nil in sends no body, a nil out drops the body of the answer. An
// answer with a problem is returned as a *api.Problem.
func (r *rest) call(ctx context.Context, method, path, token string, in, out any) error {
	deadline := time.Now().Add(callTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	r.conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { r.conn.NetConn().Close() })
	defer stop()
	request, err := r.request(method, path, token, in)
	if err != nil {
		return err
	}
	if _, err := r.conn.Write(request); err != nil {
		return fmt.Errorf("request to the rendezvous: %w", err)
	}
	res, err := http.ReadResponse(r.in, nil)
	if err != nil {
		return fmt.Errorf("answer of the rendezvous: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return fmt.Errorf("answer of the rendezvous: %w", err)
	}
	r.closing = res.Close
	if res.StatusCode/100 != 2 {
		return problem(res, raw)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("answer of the rendezvous: %w", err)
	}
	return nil
}

func (r *rest) request(method, path, token string, in any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(method + " " + path + " HTTP/1.1\r\nHost: " + r.host + "\r\n")
	if token != "" {
		b.WriteString("Authorization: Bearer " + token + "\r\n")
	}
	if in == nil {
		if method != http.MethodGet {
			b.WriteString("Content-Length: 0\r\n")
		}
		b.WriteString("\r\n")
		return b.Bytes(), nil
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("request to the rendezvous: %w", err)
	}
	b.WriteString("Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
	b.Write(body)
	return b.Bytes(), nil
}

func problem(res *http.Response, raw []byte) error {
	p := &api.Problem{}
	if json.Unmarshal(raw, p) != nil || p.Code == "" {
		return fmt.Errorf("the rendezvous answers %s, which is no rendezvous's answer", res.Status)
	}
	p.Status = res.StatusCode
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return p
}

// retry repeats a call for as long as the rendezvous asks to come back later and ctx
// permits.
func retry(ctx context.Context, call func() error) error {
	for {
		err := call()
		var p *api.Problem
		if !errors.As(err, &p) || p.RetryAfter <= 0 {
			return err
		}
		timer := time.NewTimer(p.RetryAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
