package link

import "time"

// A link is dead, and ends with [ErrSilent], when no byte has arrived from the
// peer for [SilenceTimeout]. Each side sends probes, so that an idle link does not
// look dead. The packages that implement links use these constants. Users of a
// link do not measure liveness; they wait for Run to return.
//
// TCP_USER_TIMEOUT (tcp(7)) is not used: it would also end a link whose
// receiver is alive but takes no data for a while.
const (
	// SilenceTimeout is the time without a received byte after which a link
	// ends. A link over TCP applies it to each of its two connections, because
	// one of them can fail alone.
	SilenceTimeout = 9 * time.Second

	// TCPProbeInterval is the interval at which a link over TCP sends a record
	// on each connection.
	TCPProbeInterval = 4 * time.Second

	// QUICProbeInterval is the time after which an idle QUIC connection sends a
	// PING frame (RFC 9000 section 10.1.2).
	QUICProbeInterval = 3 * time.Second

	// QUICIdleTimeout is the max_idle_timeout of QUIC connections. QUIC restarts
	// its idle timer not only when a packet arrives but also when the first
	// packet after that is sent (RFC 9000 section 10.1). On an idle connection
	// that packet is the probe, so a dead peer is noticed within the sum of
	// both: SilenceTimeout.
	QUICIdleTimeout = SilenceTimeout - QUICProbeInterval
)
