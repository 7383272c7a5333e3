package signal

import "encoding/binary"

// Got confirms the [Deliver] with this number.
type Got struct{ Number uint32 }

const gotSize = 4

func (Got) fromPeer() {}

func (m Got) appendFrame(b []byte) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, KindGot, gotSize), m.Number)
}

func decodeGot(body []byte) (Got, error) {
	if err := exactly("Got", body, gotSize); err != nil {
		return Got{}, err
	}
	return Got{Number: binary.BigEndian.Uint32(body)}, nil
}
