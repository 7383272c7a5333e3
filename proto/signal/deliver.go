package signal

import "github.com/easyfind-usb/easyfind/proto/ident"

// Deliver contains the body that another peer sent. The receiver confirms it with [Got].
type Deliver struct {
	Number uint32 // unique among the unconfirmed messages of this connection
	From   ident.PeerID
	Body   []byte // at most MaxBody bytes
}

func (Deliver) fromRendezvous() {}

func (m Deliver) appendFrame(b []byte) []byte {
	b = appendHeader(b, KindDeliver, sendPrefix+len(m.Body))
	return appendPost(b, m.Number, m.From, m.Body)
}

func decodeDeliver(body []byte) (Deliver, error) {
	number, from, rest, err := decodePost("Deliver", body)
	return Deliver{Number: number, From: from, Body: rest}, err
}
