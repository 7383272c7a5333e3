package tunnel

import "encoding/binary"

// Ping asks for a Pong with the same number, which has no meaning for the receiver. A Pong has the same form. The body
// is 8 bytes.
type Ping uint64

// Encode returns the body of a KindPing or KindPong frame.
func (p Ping) Encode() []byte { return binary.BigEndian.AppendUint64(nil, uint64(p)) }

// DecodePing reads the body of a KindPing or KindPong frame.
func DecodePing(body []byte) (Ping, error) {
	if len(body) != 8 {
		return 0, malformed("Ping of %d bytes, want 8", len(body))
	}
	return Ping(binary.BigEndian.Uint64(body)), nil
}
