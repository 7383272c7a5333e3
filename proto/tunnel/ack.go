package tunnel

import "encoding/binary"

const laneNextSize = 12

// Ack holds, for some lanes, the number of the frame that its sender expects next. Body:
//
//	n × { lane 4 │ next 8 }, n from 1 to MaxLanes
type Ack []LaneNext

// Encode returns the body of a KindAck frame.
func (a Ack) Encode() []byte {
	b := make([]byte, 0, laneNextSize*len(a))
	for _, l := range a {
		b = binary.BigEndian.AppendUint32(b, uint32(l.Lane))
		b = binary.BigEndian.AppendUint64(b, l.Next)
	}
	return b
}

// DecodeAck reads the body of a KindAck frame.
func DecodeAck(body []byte) (Ack, error) {
	n := len(body) / laneNextSize
	if n == 0 || n > MaxLanes || len(body)%laneNextSize != 0 {
		return nil, malformed("Ack of %d bytes", len(body))
	}
	a := make(Ack, n)
	for i := range a {
		b := body[i*laneNextSize:]
		a[i] = LaneNext{Lane(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint64(b[4:])}
		if !a[i].Lane.valid() || a[i].Lane == LaneLink || a[i].Next == 0 {
			return nil, malformed("Ack expects number %d on lane %#x", a[i].Next, uint32(a[i].Lane))
		}
	}
	return a, nil
}
