package signal

// Move asks the peer to connect to another instance, because this one stops soon. The peer closes this connection once
// it is connected there. Until then, this connection works as before.
type Move struct{}

func (Move) fromRendezvous() {}

func (Move) appendFrame(b []byte) []byte { return appendHeader(b, KindMove, 0) }

func decodeMove(body []byte) (Move, error) { return Move{}, exactly("Move", body, 0) }
