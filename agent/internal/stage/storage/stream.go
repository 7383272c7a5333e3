package storage

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// chunk is a part of a stream.
type chunk struct {
	data []byte
	// isShort means that a short packet ends the data, perhaps an empty one.
	isShort bool
	// status is not StatusOK if the transfer failed after the data.
	status usb.Status
	// isStatus means that the data are the status wrapper.
	isStatus bool
}

// stream holds the data and the status that the IN endpoint has delivered for a
// command. The driver may fetch them with transfers of other lengths than those of
// the stage. A chunk that is not short consists of full packets, so each chunk begins
// with a new packet.
type stream struct {
	chunks []chunk
	at     int // bytes of chunks[0] that the driver has
}

func (s *stream) add(c chunk) { s.chunks = append(s.chunks, c) }

// received adds the result of a transfer of the stage.
func (s *stream) received(u *usb.URB, maxPacket int, isStatus bool) {
	data := u.Data[:u.Actual]
	s.add(chunk{
		data: data, status: u.Status, isStatus: isStatus,
		isShort: u.Status == usb.StatusOK && (len(data) < len(u.Data) || len(data)%maxPacket != 0),
	})
}

// fill moves data from the stream to the buffer of u. If u needs more than the stream
// holds, fill moves nothing and returns false. last is the last chunk that u has used
// up.
func (s *stream) fill(u *usb.URB, maxPacket int) (status usb.Status, last chunk, done bool) {
	n, at := 0, s.at
	for i, c := range s.chunks {
		data, room := c.data[at:], len(u.Data)-n
		switch {
		case room == 0:
			return s.take(u, n, i, at)
		case len(data) > room && room%maxPacket != 0:
			return usb.StatusOverflow, chunk{}, true
		case len(data) > room:
			copy(u.Data[n:], data[:room])
			return s.take(u, len(u.Data), i, at+room)
		}
		n += copy(u.Data[n:], data)
		if c.isShort || c.status != usb.StatusOK {
			return s.take(u, n, i+1, 0)
		}
		at = 0
	}
	if n < len(u.Data) {
		return 0, chunk{}, false
	}
	return s.take(u, n, len(s.chunks), 0)
}

// take ends fill: the next byte is in chunk i.
func (s *stream) take(u *usb.URB, n, i, at int) (status usb.Status, last chunk, done bool) {
	if i > 0 {
		last = s.chunks[i-1]
		status = last.status
	}
	s.chunks, s.at = s.chunks[i:], at
	u.Actual = n
	if status == usb.StatusOK && n < len(u.Data) && u.Flags&usb.ShortNotOK != 0 {
		status = usb.StatusShortRead
	}
	return status, last, true
}
