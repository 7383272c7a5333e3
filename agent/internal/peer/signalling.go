package peer

import (
	"context"

	wire "github.com/easyfind-usb/easyfind/proto/call"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Signaller sends messages to peers through the rendezvous.
type Signaller interface {
	Send(ctx context.Context, to ident.PeerID, body []byte) error
	// Probe tests the connection to the rendezvous. It does not block.
	Probe()
}

// signalling sends messages to one peer.
type signalling struct {
	signaller Signaller // nil: the agent has no rendezvous
	peer      ident.PeerID
}

func (s signalling) available() bool { return s.signaller != nil }

// send requires a rendezvous.
func (s signalling) send(ctx context.Context, m wire.Message) error {
	body, err := m.Encode()
	if err != nil {
		return err
	}
	return s.signaller.Send(ctx, s.peer, body)
}

// probe tests the connection to the rendezvous: whatever broke a link may have
// broken it too.
func (s signalling) probe() {
	if s.available() {
		s.signaller.Probe()
	}
}
