package localapi

import (
	"context"

	"github.com/easyfind-usb/easyfind/internal/doctor"
)

// Backend is the agent as the local interface sees it. [Client] is one too: it
// asks the agent at the other end of the socket. Errors may be a [Problem].
// Methods are called concurrently; ctx ends when the asking side hangs up.
type Backend interface {
	Reporting
	Sharing
	Peering
	Pairing
	Using
}

// Reporting says how things are.
type Reporting interface {
	Status(ctx context.Context) (Status, error)
	// Doctor looks at the rendezvous from here, for up to half a minute.
	Doctor(ctx context.Context) ([]doctor.Finding, error)
}

// Sharing is about the devices of this machine.
type Sharing interface {
	Devices(ctx context.Context) ([]Device, error)
	// Share shares a device or changes how it is shared. A selector of a device
	// that is not plugged in is remembered for when it comes.
	Share(ctx context.Context, r ShareRequest) (Share, error)
	// Unshare takes the device away from those who use it, within seconds.
	Unshare(ctx context.Context, device string) error
}

// Peering is about the peers that this machine is paired with. A peer is given
// by its name or by the beginning of its ID.
type Peering interface {
	Peers(ctx context.Context) ([]Peer, error)
	Forget(ctx context.Context, peer string) error
	Reach(ctx context.Context, r ReachRequest) (Peer, error)
}

// Pairing makes new peers.
type Pairing interface {
	// OfferPairing calls progress with the address and PIN, and returns when
	// the other machine has paired.
	OfferPairing(ctx context.Context, progress func(Progress)) (Peer, error)
	JoinPairing(ctx context.Context, r JoinRequest, progress func(Progress)) (Peer, error)
}

// Using is about the devices of other machines.
type Using interface {
	// RemoteDevices lists the devices of a peer, of all connected ones if it is "".
	RemoteDevices(ctx context.Context, peer string) ([]RemoteDevice, error)
	// Use returns when the device is attached, or with the reason why not.
	Use(ctx context.Context, r UseRequest, progress func(Progress)) (Use, error)
	// Release ends a use, given by its ID or by its device if that is unique.
	Release(ctx context.Context, use string) error
}
