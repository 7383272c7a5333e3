package localapi

import (
	"context"

	"github.com/easyfind-usb/easyfind/internal/doctor"
)

// Backend is the agent behind the local API. [Client] implements all its interfaces.
// Their methods may be called concurrently, and their errors may be a [Problem]. The
// context of a call ends when its client hangs up.
type Backend struct {
	Devices Devices
	Peers   Peers
	Pairing Pairing
	Uses    Uses
	Reports Reports
}

func (b Backend) isComplete() bool {
	return b.Devices != nil && b.Peers != nil && b.Pairing != nil && b.Uses != nil && b.Reports != nil
}

// Devices shares the devices of this machine.
type Devices interface {
	Devices(ctx context.Context) ([]Device, error)
	// Share shares a device, or changes how it is shared.
	Share(ctx context.Context, r ShareRequest) (Share, error)
	// Unshare ends a share. A peer that holds the device loses it within seconds.
	Unshare(ctx context.Context, device string) error
}

// Peers manages the paired peers. A peer is named by its name or by the beginning of
// its ID.
type Peers interface {
	Peers(ctx context.Context) ([]Peer, error)
	Forget(ctx context.Context, peer string) error
	// Reach replaces the direct addresses of a peer.
	Reach(ctx context.Context, r ReachRequest) (Peer, error)
	// Limit caps the rate at which this machine and a peer send to each other.
	Limit(ctx context.Context, r LimitRequest) (Peer, error)
}

// Pairing pairs this machine with other machines.
type Pairing interface {
	// OfferPairing passes the address and PIN to progress. It returns when another
	// machine has used them.
	OfferPairing(ctx context.Context, progress func(Progress)) (Peer, error)
	// JoinPairing pairs with the machine that offers the address.
	JoinPairing(ctx context.Context, r JoinRequest, progress func(Progress)) (Peer, error)
}

// Uses manages the devices of other machines that this machine uses.
type Uses interface {
	// RemoteDevices returns the devices that a peer shares with this machine. If
	// peer is "", it returns the devices of all peers that it reaches.
	RemoteDevices(ctx context.Context, peer string) ([]RemoteDevice, error)
	// Use returns when the device is attached, or with the reason why it is not.
	Use(ctx context.Context, r UseRequest, progress func(Progress)) (Use, error)
	// Release ends a use. The use is named by its ID, or by its device if only one
	// peer has a device of that name.
	Release(ctx context.Context, use string) error
}

// Reports describes the state of the agent.
type Reports interface {
	Status(ctx context.Context) (Status, error)
	// Doctor examines the rendezvous and the network, for up to half a minute.
	Doctor(ctx context.Context) ([]doctor.Finding, error)
}
