//go:build !stockquic

package quiclink

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/apernet/quic-go"
	quiccc "github.com/apernet/quic-go/congestion"
	"github.com/apernet/quic-go/monotime"

	"github.com/easyfind-usb/easyfind/agent/internal/link/congestion"
)

// These names are all that this package takes from QUIC.
type (
	engineTransport = quic.Transport
	engineConn      = quic.Conn
	engineConfig    = quic.Config
	sendStream      = quic.SendStream
	receiveStream   = quic.ReceiveStream
	connectionID    = quic.ConnectionID

	applicationError      = quic.ApplicationError
	idleTimeoutError      = quic.IdleTimeoutError
	handshakeTimeoutError = quic.HandshakeTimeoutError
	transportError        = quic.TransportError
	datagramTooLargeError = quic.DatagramTooLargeError
)

var connectionIDFromBytes = quic.ConnectionIDFromBytes

// control replaces CUBIC by our congestion controller. The fork has an interface for
// that; apart from it, its code is that of quic-go. control returns a function that
// returns the controller's measurements, as link.Stats has them.
func control(conn *engineConn) (measured func() (rate, loss float64)) {
	rtt := conn.ConnectionStats().MinRTT
	c := &controller{Controller: congestion.New(int(conn.InitialPacketSize()), rtt), began: monotime.Now()}
	conn.SetCongestionControl(c)
	return func() (rate, loss float64) {
		return math.Float64frombits(c.rate.Load()), math.Float64frombits(c.loss.Load())
	}
}

// controller adapts a congestion.Controller to the engine, which calls it from one
// goroutine at a time.
type controller struct {
	*congestion.Controller
	rtt         quiccc.RTTStatsProvider
	acked, lost []congestion.Packet // reused
	began       monotime.Time       // the engine's clock may be negative in virtual time, the controller's is not
	now         monotime.Time       // of the latest call
	rate, loss  atomic.Uint64       // math.Float64bits of the measurements, for other goroutines
}

var _ quiccc.CongestionControlEx = (*controller)(nil)

// SetRTTStatsProvider implements quiccc.CongestionControl. The engine calls it first.
func (c *controller) SetRTTStatsProvider(p quiccc.RTTStatsProvider) { c.rtt = p }

// time returns a time of the engine's clock on the controller's clock, which is positive.
func (c *controller) time(t monotime.Time) congestion.Time { return congestion.Time(t-c.began) + 1 }

// HasPacingBudget implements quiccc.CongestionControl.
func (c *controller) HasPacingBudget(now monotime.Time) bool {
	c.now = now
	return c.NextSend(c.time(now)) <= c.time(now)
}

// TimeUntilSend implements quiccc.CongestionControl. It returns 0 if a packet may be sent
// now.
func (c *controller) TimeUntilSend(quiccc.ByteCount) monotime.Time {
	now := c.time(c.now)
	if at := c.NextSend(now); at > now {
		return c.now + monotime.Time(at-now)
	}
	return 0
}

// OnPacketSent implements quiccc.CongestionControl. The engine counts the packet in
// inFlight already.
func (c *controller) OnPacketSent(now monotime.Time, inFlight quiccc.ByteCount, number quiccc.PacketNumber,
	bytes quiccc.ByteCount, ackEliciting bool,
) {
	c.now = now
	if ackEliciting {
		c.OnSent(c.time(now), int64(number), int(bytes), int(inFlight-bytes))
	}
}

// CanSend implements quiccc.CongestionControl.
func (c *controller) CanSend(inFlight quiccc.ByteCount) bool { return int(inFlight) < c.Window() }

// OnCongestionEventEx implements quiccc.CongestionControlEx.
func (c *controller) OnCongestionEventEx(_ quiccc.ByteCount, now monotime.Time,
	acked []quiccc.AckedPacketInfo, lost []quiccc.LostPacketInfo,
) {
	c.now = now
	c.acked, c.lost = c.acked[:0], c.lost[:0]
	for _, p := range acked {
		c.acked = append(c.acked, congestion.Packet{Number: int64(p.PacketNumber), Bytes: int(p.BytesAcked)})
	}
	for _, p := range lost {
		c.lost = append(c.lost, congestion.Packet{Number: int64(p.PacketNumber), Bytes: int(p.BytesLost)})
	}
	var rtt time.Duration
	if len(acked) > 0 {
		rtt = c.rtt.LatestRTT()
	}
	c.OnAck(congestion.Ack{Now: c.time(now), RTT: rtt, Acked: c.acked, Lost: c.lost})
	c.rate.Store(math.Float64bits(c.Rate()))
	c.loss.Store(math.Float64bits(c.Loss()))
}

// SetMaxDatagramSize implements quiccc.CongestionControl. The engine calls it when path
// MTU discovery has found a larger size.
func (c *controller) SetMaxDatagramSize(size quiccc.ByteCount) { c.SetPacketSize(int(size)) }

// GetCongestionWindow implements quiccc.CongestionControl.
func (c *controller) GetCongestionWindow() quiccc.ByteCount { return quiccc.ByteCount(c.Window()) }

// InSlowStart implements quiccc.CongestionControl.
func (c *controller) InSlowStart() bool { return c.Starting() }

// InRecovery implements quiccc.CongestionControl. The engine only logs it.
func (c *controller) InRecovery() bool { return false }

// MaybeExitSlowStart implements quiccc.CongestionControl. OnCongestionEventEx does its
// work, as for the following methods.
func (c *controller) MaybeExitSlowStart() {}

// OnPacketAcked implements quiccc.CongestionControl.
func (c *controller) OnPacketAcked(quiccc.PacketNumber, quiccc.ByteCount, quiccc.ByteCount, monotime.Time) {
}

// OnCongestionEvent implements quiccc.CongestionControl.
func (c *controller) OnCongestionEvent(quiccc.PacketNumber, quiccc.ByteCount, quiccc.ByteCount) {}

// OnRetransmissionTimeout implements quiccc.CongestionControl.
func (c *controller) OnRetransmissionTimeout(bool) {}
