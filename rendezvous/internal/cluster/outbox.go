package cluster

import (
	"net"
	"sync"
	"time"
)

// outbox writes frames in the background.
type outbox struct {
	conn   net.Conn
	frames chan []byte
	ended  chan struct{}
	once   sync.Once
}

func newOutbox(conn net.Conn) *outbox {
	return &outbox{conn: conn, frames: make(chan []byte, maxOut), ended: make(chan struct{})}
}

// put queues a frame. It reports false, and the connection ends, if the other
// side does not keep up.
func (o *outbox) put(frame []byte) bool {
	select {
	case <-o.ended:
		return false
	case o.frames <- frame:
		return true
	default:
		o.conn.Close()
		return false
	}
}

// run writes until close: all that is queued at once.
func (o *outbox) run() {
	var out []byte
	for {
		select {
		case <-o.ended:
			return
		case frame := <-o.frames:
			out = append(out[:0], frame...)
		}
		for more := true; more && len(out) < maxFrame; {
			select {
			case frame := <-o.frames:
				out = append(out, frame...)
			default:
				more = false
			}
		}
		o.conn.SetWriteDeadline(time.Now().Add(writeWait))
		if _, err := o.conn.Write(out); err != nil {
			o.conn.Close()
			return
		}
		if cap(out) > 4*maxFrame {
			out = nil
		}
	}
}

func (o *outbox) close() { o.once.Do(func() { close(o.ended) }) }
