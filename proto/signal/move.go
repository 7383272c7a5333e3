package signal

// Move tells the peer that this instance stops soon and another one takes its
// place: the peer connects anew, and leaves this connection once it is there.
// Until then everything on this one works as ever.
type Move struct{}

func (Move) fromRendezvous() {}

func (Move) appendFrame(b []byte) []byte { return appendHeader(b, KindMove, 0) }

func decodeMove(body []byte) (Move, error) { return Move{}, exactly("Move", body, 0) }
