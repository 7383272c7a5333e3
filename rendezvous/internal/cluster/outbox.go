package cluster

import (
	"net"
	"sync"
	"time"
)

// outbox writes frames to a connection in a goroutine of its own.
type outbox struct {
	conn   net.Conn
	frames chan []byte
	ended  chan struct{}
	once   sync.Once
}

func newOutbox(conn net.Conn) *outbox {
	return &outbox{conn: conn, frames: make(chan []byte, maxOut), ended: make(chan struct{})}
}

// put queues a frame. It returns false if the outbox is closed. If the queue is
// full, because the other side reads too slowly, it closes the connection and
// returns false.
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

// run writes frames until close or an error. It writes queued frames together.
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
		o.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := o.conn.Write(out); err != nil {
			o.conn.Close()
			return
		}
		if cap(out) > 4*maxFrame {
			out = nil
		}
	}
}

// close ends run. Frames that are still queued are dropped.
func (o *outbox) close() { o.once.Do(func() { close(o.ended) }) }
