package signal

const tokenSize = 8

// Ping asks for a [Pong] with the same token.
type Ping struct{ Token [tokenSize]byte }

func (Ping) fromPeer() {}

func (m Ping) appendFrame(b []byte) []byte {
	return append(appendHeader(b, KindPing, tokenSize), m.Token[:]...)
}

func decodePing(body []byte) (Ping, error) {
	if err := exactly("Ping", body, tokenSize); err != nil {
		return Ping{}, err
	}
	return Ping{Token: [tokenSize]byte(body)}, nil
}
