package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/easyfind-usb/easyfind/internal/doctor"
)

// maxResponse bounds a response, or one event of a stream, in bytes.
const maxResponse = 8 << 20

// Client calls the agent behind a socket. It implements the interfaces of [Backend].
type Client struct {
	socket string
	http   *http.Client
}

var _ = Backend{
	Devices: (*Client)(nil), Peers: (*Client)(nil), Pairing: (*Client)(nil), Uses: (*Client)(nil),
	Reports: (*Client)(nil),
}

// NewClient creates a client. The client dials the socket for each call.
func NewClient(socket string) *Client {
	var dialer net.Dialer
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}
	return &Client{socket: socket, http: &http.Client{Transport: transport}}
}

// Status returns the state of the agent.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Doctor examines the rendezvous and the network from the place of the agent.
func (c *Client) Doctor(ctx context.Context) ([]doctor.Finding, error) {
	return call[[]doctor.Finding](ctx, c, http.MethodGet, "/v1/doctor", nil)
}

// Devices returns the devices of this machine.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	return call[[]Device](ctx, c, http.MethodGet, "/v1/devices", nil)
}

// Share shares a device, or changes how it is shared.
func (c *Client) Share(ctx context.Context, r ShareRequest) (Share, error) {
	return call[Share](ctx, c, http.MethodPost, "/v1/shares", r)
}

// Unshare ends a share.
func (c *Client) Unshare(ctx context.Context, device string) error {
	return c.remove(ctx, "/v1/shares", "device", device)
}

// Peers returns the paired peers.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	return call[[]Peer](ctx, c, http.MethodGet, "/v1/peers", nil)
}

// Forget removes a paired peer.
func (c *Client) Forget(ctx context.Context, peer string) error {
	return c.remove(ctx, "/v1/peers", "peer", peer)
}

// Reach replaces the direct addresses of a peer.
func (c *Client) Reach(ctx context.Context, r ReachRequest) (Peer, error) {
	return call[Peer](ctx, c, http.MethodPut, "/v1/peers/addresses", r)
}

// Limit caps the rate of a peer.
func (c *Client) Limit(ctx context.Context, r LimitRequest) (Peer, error) {
	return call[Peer](ctx, c, http.MethodPut, "/v1/peers/limit", r)
}

// OfferPairing offers an address and waits until another machine has used it.
func (c *Client) OfferPairing(ctx context.Context, progress func(Progress)) (Peer, error) {
	return follow[Peer](ctx, c, "/v1/pairings/offer", struct{}{}, progress)
}

// JoinPairing pairs with the machine that offers the address.
func (c *Client) JoinPairing(ctx context.Context, r JoinRequest, progress func(Progress)) (Peer, error) {
	return follow[Peer](ctx, c, "/v1/pairings/join", r, progress)
}

// RemoteDevices returns the devices of a peer, or those of all peers if peer is "".
func (c *Client) RemoteDevices(ctx context.Context, peer string) ([]RemoteDevice, error) {
	return call[[]RemoteDevice](ctx, c, http.MethodGet, "/v1/remote-devices?"+url.Values{"peer": {peer}}.Encode(), nil)
}

// Use attaches a remote device.
func (c *Client) Use(ctx context.Context, r UseRequest, progress func(Progress)) (Use, error) {
	return follow[Use](ctx, c, "/v1/uses", r, progress)
}

// Release ends a use.
func (c *Client) Release(ctx context.Context, use string) error {
	return c.remove(ctx, "/v1/uses", "use", use)
}

func (c *Client) remove(ctx context.Context, path, parameter, value string) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, path+"?"+url.Values{parameter: {value}}.Encode(), nil)
	return err
}

// do sends a request. It returns the response if the status is a success.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("request to the agent: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://easyfind"+path, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("request to the agent: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectError(ctx, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	var p Problem
	err = json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&p)
	if err != nil || p.Detail == "" {
		detail := fmt.Sprintf("the agent failed with status %d and gave no reason: see its log", resp.StatusCode)
		p = Problem{CodeFailed, detail}
	}
	return nil, errors.Join(&p, resp.Body.Close())
}

// connectError explains why the agent did not answer, and what to do.
func (c *Client) connectError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return &Problem{
			CodePermission,
			fmt.Sprintf("no permission on %s: run as the user that runs the agent, or as root", c.socket),
		}
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED):
		return &Problem{CodeNotRunning, fmt.Sprintf("no agent runs at %s: start it with: easyfind up", c.socket)}
	}
	return &Problem{CodeNotRunning, fmt.Sprintf(
		"the agent at %s does not answer (%v): see its log, or start it with: easyfind up", c.socket, err)}
}

// call sends a request and decodes the response.
func call[T any](ctx context.Context, c *Client, method, path string, body any) (result T, err error) {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode == http.StatusNoContent {
		return result, nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxResponse)).Decode(&result); err != nil {
		return result, fmt.Errorf("response of the agent: %w", err)
	}
	return result, nil
}

// follow sends a request and passes its events to progress. It returns the last one.
func follow[T any](
	ctx context.Context, c *Client, path string, body any, progress func(Progress),
) (result T, err error) {
	resp, err := c.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	limited := &io.LimitedReader{R: resp.Body}
	d := json.NewDecoder(limited)
	for {
		limited.N = maxResponse
		var e Event[T]
		if err := d.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return result, context.Cause(ctx)
			}
			return result, errStopped
		}
		switch {
		case e.Problem != nil:
			return result, e.Problem
		case e.Result != nil:
			return *e.Result, nil
		case e.Progress != nil && progress != nil:
			progress(*e.Progress)
		}
	}
}
