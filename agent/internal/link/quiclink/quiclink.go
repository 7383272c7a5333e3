package quiclink

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// maxSmallFrame is the largest body, in bytes, of a frame that does not turn a lane
// of tunnel.ClassBulk into a bulk lane.
const maxSmallFrame = 4 << 10

// readBufferSize is the size of the buffer of an incoming lane, in bytes. Larger
// bodies are read without it.
const readBufferSize = 2 << 10

// quicLink is a link.Link over one QUIC connection.
type quicLink struct {
	conn     *engineConn
	measured func() (rate, loss float64) // of the congestion controller, as in link.Stats
	info     link.Info
	frames   link.FrameReader

	mu     sync.Mutex
	out    map[tunnel.Lane]*outLane      // guarded by mu
	in     map[tunnel.Lane]chan struct{} // guarded by mu; closed when the reader of the lane's last stream ends
	closed bool                          // guarded by mu: Close was called
}

// outLane is a lane on which this side sends.
type outLane struct {
	lane    tunnel.Lane
	writing sync.Mutex // held during writes to stream
	stream  *sendStream
	bulk    bool // guarded by writing

	mu      sync.Mutex
	senders int  // guarded by mu
	ended   bool // guarded by mu
}

// newLink makes a link from a connection whose handshake is complete.
func newLink(conn *engineConn, dialed bool, path link.Path) (*quicLink, error) {
	peer, err := ident.PeerOf(conn.ConnectionState().TLS)
	if err != nil {
		return nil, err
	}
	path.Transport, path.Encrypted = "quic", true
	if path.Local == "" {
		path.Local = conn.LocalAddr().String()
	}
	if path.Remote == "" {
		path.Remote = conn.RemoteAddr().String()
	}
	return &quicLink{
		conn: conn, measured: control(conn), info: link.Info{Peer: peer, Dialed: dialed, Path: path},
		out: make(map[tunnel.Lane]*outLane), in: make(map[tunnel.Lane]chan struct{}),
	}, nil
}

func (l *quicLink) Info() link.Info { return l.info }

func (l *quicLink) Stats() link.Stats {
	s := l.conn.ConnectionStats()
	rate, loss := l.measured()
	return link.Stats{
		RTT: s.SmoothedRTT, MinRTT: s.MinRTT, Loss: loss, Rate: rate,
		BytesSent: s.BytesSent, BytesReceived: s.BytesReceived,
	}
}

func (l *quicLink) Send(f tunnel.Frame) error {
	if f.Kind.Lossy() {
		return l.sendDatagram(f)
	}
	lane, err := l.acquire(f.Lane)
	if err != nil {
		return err
	}
	defer lane.release()
	lane.writing.Lock()
	defer lane.writing.Unlock()
	if lane.stream == nil {
		if err := l.open(lane, f.Class); err != nil {
			return l.endError(err)
		}
	}
	if !lane.bulk && f.Lane > tunnel.LaneSession && f.Class == tunnel.ClassBulk && len(f.Body) > maxSmallFrame {
		lane.bulk = true
		setUrgency(lane.stream, urgencyBulk)
	}
	if err := link.WriteFrame(lane.stream, f); err != nil {
		return l.endError(err)
	}
	return nil
}

// acquire finds or makes a lane and counts the caller as a sender.
func (l *quicLink) acquire(number tunnel.Lane) (*outLane, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane, ok := l.out[number]
	if !ok {
		if len(l.out) >= tunnel.MaxLanes {
			return nil, fmt.Errorf("open lane %d: the limit of %d open lanes is reached", number, len(l.out))
		}
		lane = &outLane{lane: number}
		l.out[number] = lane
	}
	lane.mu.Lock()
	lane.senders++
	lane.mu.Unlock()
	return lane, nil
}

// release ends what acquire began. It closes the stream if EndLane was called in
// the meantime.
func (o *outLane) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.senders--
	o.finish()
}

// finish closes the stream if the lane is ended and has no sender. mu must be held.
func (o *outLane) finish() {
	if o.ended && o.senders == 0 && o.stream != nil {
		_ = o.stream.Close() // fails only if the stream has failed, and Send has returned that error
	}
}

func (l *quicLink) open(lane *outLane, class tunnel.Class) error {
	stream, err := l.conn.OpenUniStreamSync(l.conn.Context())
	if err != nil {
		return err
	}
	setUrgency(stream, urgencyOf(class))
	if _, err := stream.Write(binary.BigEndian.AppendUint32(nil, uint32(lane.lane))); err != nil {
		return err
	}
	lane.mu.Lock()
	lane.stream = stream
	lane.mu.Unlock()
	return nil
}

func (l *quicLink) EndLane(number tunnel.Lane) {
	l.mu.Lock()
	lane, ok := l.out[number]
	delete(l.out, number)
	l.mu.Unlock()
	if !ok {
		return
	}
	lane.mu.Lock()
	defer lane.mu.Unlock()
	lane.ended = true
	lane.finish()
}

func (l *quicLink) Run(ctx context.Context, deliver func(tunnel.Frame) error) error {
	stop := context.AfterFunc(ctx, func() { l.Close("") })
	defer stop()
	var lanes sync.WaitGroup
	defer lanes.Wait()
	failed := make(chan error, 1) // the first error that this side found
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
		l.end(err.Error())
	}
	lanes.Go(func() {
		if err := l.runDatagrams(deliver); err != nil {
			fail(err)
		}
	})
	for {
		stream, err := l.conn.AcceptUniStream(l.conn.Context())
		if err != nil {
			lanes.Wait()
			select {
			case err := <-failed:
				return err
			default:
			}
			if l.wasClosed() {
				return nil
			}
			return l.endError(err)
		}
		lanes.Go(func() {
			if err := l.runLane(stream, deliver); err != nil {
				fail(err)
			}
		})
	}
}

// runLane delivers the frames of a stream. It returns an error if the link must
// end for another reason than the end of the connection.
func (l *quicLink) runLane(stream *receiveStream, deliver func(tunnel.Frame) error) error {
	from := bufio.NewReaderSize(stream, readBufferSize)
	var number [4]byte
	if _, err := io.ReadFull(from, number[:]); err != nil {
		return l.laneError(err)
	}
	lane := tunnel.Lane(binary.BigEndian.Uint32(number[:]))
	done, ok := l.waitTurn(lane)
	if !ok {
		return nil
	}
	defer done()
	for {
		f, err := l.frames.Read(from)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return l.laneError(err)
		}
		if f.Lane != lane {
			return fmt.Errorf("%w: a frame of lane %d on the stream of lane %d", tunnel.ErrMalformed, f.Lane, lane)
		}
		if l.conn.Context().Err() != nil {
			return nil
		}
		if err := deliver(f); err != nil {
			return err
		}
	}
}

// waitTurn waits until the earlier streams of the lane have been delivered, so
// that deliver is not called concurrently for one lane. The caller must call done
// after the last frame. ok is false if the connection ends first.
func (l *quicLink) waitTurn(lane tunnel.Lane) (done func(), ok bool) {
	ended := make(chan struct{})
	l.mu.Lock()
	earlier := l.in[lane]
	l.in[lane] = ended
	l.mu.Unlock()
	if earlier != nil {
		select {
		case <-earlier:
		case <-l.conn.Context().Done():
			return nil, false
		}
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.in[lane] == ended {
			delete(l.in, lane)
		}
		close(ended)
	}, true
}

// laneError returns the error for a read from a stream that failed. It is nil if
// the connection has ended, which has an error of its own.
func (l *quicLink) laneError(err error) error {
	if l.conn.Context().Err() != nil {
		return nil
	}
	if errors.Is(err, tunnel.ErrMalformed) {
		return err
	}
	return fmt.Errorf("%w: the stream of a lane ended inside a frame: %w", tunnel.ErrMalformed, err)
}

// Close sends the reason in a CONNECTION_CLOSE frame (RFC 9000 section 19.19).
func (l *quicLink) Close(reason string) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.end(reason)
}

func (l *quicLink) end(reason string) {
	_ = l.conn.CloseWithError(0, link.CleanReason(reason)) // never fails
}

func (l *quicLink) wasClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// endError returns the error of the link for a call that failed with err.
func (l *quicLink) endError(err error) error {
	if cause := context.Cause(l.conn.Context()); cause != nil {
		err = cause
	}
	if l.wasClosed() {
		return link.ErrClosed
	}
	if closed, ok := errors.AsType[*applicationError](err); ok && closed.Remote {
		return &link.ClosedError{Reason: link.CleanReason(closed.ErrorMessage)}
	}
	if _, ok := errors.AsType[*idleTimeoutError](err); ok {
		return fmt.Errorf("%w: %w", link.ErrSilent, err)
	}
	return fmt.Errorf("QUIC connection to %s: %w", l.info.Path.Remote, err)
}
