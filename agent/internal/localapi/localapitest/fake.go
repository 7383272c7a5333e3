// Package localapitest has a scripted agent for the tests of what stands on
// the local interface.
package localapitest

import (
	"context"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/internal/doctor"
)

// Backend answers with what its fields say and remembers what it was asked.
// The fields may be set until it is used.
type Backend struct {
	Now       localapi.Status
	Found     []doctor.Finding
	Local     []localapi.Device
	Known     []localapi.Peer
	Remote    []localapi.RemoteDevice
	Shared    localapi.Share
	Used      localapi.Use
	Paired    localapi.Peer
	Reporting []localapi.Progress // what a long operation reports first
	// Wait, if it is set, holds up long operations until it is closed or their
	// caller gives up.
	Wait <-chan struct{}
	// Err, if it is set, is the end of every operation.
	Err error

	mu    sync.Mutex
	calls []Call
}

var _ localapi.Backend = (*Backend)(nil)

// Call is one thing that the Backend was asked.
type Call struct {
	Method  string // "Share"
	Request any    // its request, or its string
}

// Calls returns what it was asked, in order.
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

// long is the course of an operation that takes its time.
func (b *Backend) long(ctx context.Context, method string, request any, progress func(localapi.Progress)) error {
	err := b.called(method, request)
	for _, p := range b.Reporting {
		progress(p)
	}
	if b.Wait == nil {
		return err
	}
	select {
	case <-b.Wait:
		return err
	case <-ctx.Done():
		_ = b.called(method+" given up", request)
		return ctx.Err()
	}
}

// Status answers with Now.
func (b *Backend) Status(context.Context) (localapi.Status, error) {
	return b.Now, b.called("Status", nil)
}

// Doctor answers with Found.
func (b *Backend) Doctor(context.Context) ([]doctor.Finding, error) {
	return b.Found, b.called("Doctor", nil)
}

// Devices answers with Local.
func (b *Backend) Devices(context.Context) ([]localapi.Device, error) {
	return b.Local, b.called("Devices", nil)
}

// Share answers with Shared.
func (b *Backend) Share(_ context.Context, r localapi.ShareRequest) (localapi.Share, error) {
	return b.Shared, b.called("Share", r)
}

// Unshare answers.
func (b *Backend) Unshare(_ context.Context, device string) error { return b.called("Unshare", device) }

// Peers answers with Known.
func (b *Backend) Peers(context.Context) ([]localapi.Peer, error) {
	return b.Known, b.called("Peers", nil)
}

// Forget answers.
func (b *Backend) Forget(_ context.Context, peer string) error { return b.called("Forget", peer) }

// Reach answers with Paired.
func (b *Backend) Reach(_ context.Context, r localapi.ReachRequest) (localapi.Peer, error) {
	return b.Paired, b.called("Reach", r)
}

// OfferPairing reports, waits and answers with Paired.
func (b *Backend) OfferPairing(ctx context.Context, progress func(localapi.Progress)) (localapi.Peer, error) {
	return b.Paired, b.long(ctx, "OfferPairing", nil, progress)
}

// JoinPairing reports, waits and answers with Paired.
func (b *Backend) JoinPairing(ctx context.Context, r localapi.JoinRequest, progress func(localapi.Progress)) (localapi.Peer, error) {
	return b.Paired, b.long(ctx, "JoinPairing", r, progress)
}

// RemoteDevices answers with Remote.
func (b *Backend) RemoteDevices(_ context.Context, peer string) ([]localapi.RemoteDevice, error) {
	return b.Remote, b.called("RemoteDevices", peer)
}

// Use reports, waits and answers with Used.
func (b *Backend) Use(ctx context.Context, r localapi.UseRequest, progress func(localapi.Progress)) (localapi.Use, error) {
	return b.Used, b.long(ctx, "Use", r, progress)
}

// Release answers.
func (b *Backend) Release(_ context.Context, use string) error { return b.called("Release", use) }
