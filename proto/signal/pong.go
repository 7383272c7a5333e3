package signal

// Pong answers a [Ping].
type Pong struct{ Token [tokenSize]byte }

func (Pong) fromRendezvous() {}

func (m Pong) appendFrame(b []byte) []byte {
	return append(appendHeader(b, KindPong, tokenSize), m.Token[:]...)
}

func decodePong(body []byte) (Pong, error) {
	if err := exactly("Pong", body, tokenSize); err != nil {
		return Pong{}, err
	}
	return Pong{Token: [tokenSize]byte(body)}, nil
}
