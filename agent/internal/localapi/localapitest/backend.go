// Package localapitest provides a scripted agent for tests of the local API and of its
// clients.
package localapitest

import (
	"context"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/internal/doctor"
)

// Backend returns the values of its fields and records its calls. The fields must not
// change after the first call.
type Backend struct {
	Now      localapi.Status
	Found    []doctor.Finding
	Local    []localapi.Device
	Known    []localapi.Peer
	Remote   []localapi.RemoteDevice
	Shared   localapi.Share
	Used     localapi.Use
	Paired   localapi.Peer
	Progress []localapi.Progress // the first reports of a long operation
	// Wait blocks long operations until it is closed or the caller cancels them. nil:
	// they do not block.
	Wait <-chan struct{}
	// Err is the error of every operation.
	Err error

	mu    sync.Mutex
	calls []Call
}

// Backend returns b as a backend of the local API.
func (b *Backend) Backend() localapi.Backend {
	return localapi.Backend{Devices: b, Peers: b, Pairing: b, Uses: b, Reports: b}
}

// Call is a call of a method.
type Call struct {
	Method  string // such as "Share"
	Request any    // the argument of the call
}

// Calls returns the calls so far, in order.
func (b *Backend) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Call(nil), b.calls...)
}

func (b *Backend) called(method string, request any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, Call{method, request})
	return b.Err
}

// long runs a long operation.
func (b *Backend) long(ctx context.Context, method string, request any, progress func(localapi.Progress)) error {
	err := b.called(method, request)
	for _, p := range b.Progress {
		progress(p)
	}
	if b.Wait == nil {
		return err
	}
	select {
	case <-b.Wait:
		return err
	case <-ctx.Done():
		_ = b.called(method+" cancelled", request)
		return ctx.Err()
	}
}

// Status returns Now.
func (b *Backend) Status(context.Context) (localapi.Status, error) {
	return b.Now, b.called("Status", nil)
}

// Doctor returns Found.
func (b *Backend) Doctor(context.Context) ([]doctor.Finding, error) {
	return b.Found, b.called("Doctor", nil)
}

// Devices returns Local.
func (b *Backend) Devices(context.Context) ([]localapi.Device, error) {
	return b.Local, b.called("Devices", nil)
}

// Share returns Shared.
func (b *Backend) Share(_ context.Context, r localapi.ShareRequest) (localapi.Share, error) {
	return b.Shared, b.called("Share", r)
}

// Unshare returns Err.
func (b *Backend) Unshare(_ context.Context, device string) error { return b.called("Unshare", device) }

// Peers returns Known.
func (b *Backend) Peers(context.Context) ([]localapi.Peer, error) {
	return b.Known, b.called("Peers", nil)
}

// Forget returns Err.
func (b *Backend) Forget(_ context.Context, peer string) error { return b.called("Forget", peer) }

// Reach returns Paired.
func (b *Backend) Reach(_ context.Context, r localapi.ReachRequest) (localapi.Peer, error) {
	return b.Paired, b.called("Reach", r)
}

// Limit returns Paired.
func (b *Backend) Limit(_ context.Context, r localapi.LimitRequest) (localapi.Peer, error) {
	return b.Paired, b.called("Limit", r)
}

// OfferPairing reports Progress, waits, and returns Paired.
func (b *Backend) OfferPairing(ctx context.Context, progress func(localapi.Progress)) (localapi.Peer, error) {
	return b.Paired, b.long(ctx, "OfferPairing", nil, progress)
}

// JoinPairing reports Progress, waits, and returns Paired.
func (b *Backend) JoinPairing(
	ctx context.Context, r localapi.JoinRequest, progress func(localapi.Progress),
) (localapi.Peer, error) {
	return b.Paired, b.long(ctx, "JoinPairing", r, progress)
}

// RemoteDevices returns Remote.
func (b *Backend) RemoteDevices(_ context.Context, peer string) ([]localapi.RemoteDevice, error) {
	return b.Remote, b.called("RemoteDevices", peer)
}

// Use reports Progress, waits, and returns Used.
func (b *Backend) Use(
	ctx context.Context, r localapi.UseRequest, progress func(localapi.Progress),
) (localapi.Use, error) {
	return b.Used, b.long(ctx, "Use", r, progress)
}

// Release returns Err.
func (b *Backend) Release(_ context.Context, use string) error { return b.called("Release", use) }
