// Package isochronous lets audio and video devices work at a distance.
//
// # Why
//
// An isochronous endpoint has one packet in each interval (USB 2.0, 5.6), whether
// somebody has asked for it or not. A driver keeps a few URBs submitted, those of sound
// cards for about 20 ms (Linux: sound/usb/card.h, MAX_QUEUE). If each of them travels to
// the host and back, most packets are missed as soon as the round trip takes longer.
//
// # How
//
// The stage has two halves. The host's half lets an endpoint run by itself: it keeps URBs
// of its own posted at the device. The client's half is a host controller for the driver:
// it completes the URBs of the driver at the pace of the device. Between the two, packets
// travel in lossy frames; package tunnel describes them:
//
//	IN   device ─► Host: URBs ─► blocks with parity ─► Stage: jitter buffer ─► driver
//	OUT  driver ─► Stage: blocks with parity ─► Host: jitter buffer ─► URBs ─► device
//	                    ▲                                                       │
//	                    └───────── reports: the clock of the device ◄───────────┘
//
// All other URBs pass unchanged.
//
// # Loss
//
// The packets of 8 ms make a block, which is cut into shards. There is as much parity that
// a block is lost once in a million if shards are lost at random; the receiver reports
// how many are. All shards of a block leave at the same time, so parity costs no time.
//
// # Time
//
// The client follows the clock of the device, because the two clocks differ by up to
// 0.1 %. The packets of an IN arrive at the pace of the device; those that took the least
// time on the way show it best. An IN is completed as late as the slowest packet of the
// last 10 to 20 s needed, and a little reserve. For an OUT the host reports how many packets
// the device has finished, and how many were left in the jitter buffer at least. The
// client trims its clock so that a few are.
//
// If packets of an OUT are missing, the device gets silence: zeros for audio, otherwise
// packets without data. A packet of an IN that is missing completes with
// StatusCrossLink, which is what host controllers report for a packet that they missed.
//
// # End of a stream
//
// The driver sees a packet of an OUT as played before the device has played it. So when the
// driver ends the stream, the host first lets the device play what is there, and holds back
// the control request until then.
//
// A stream ends when the driver changes the alternate setting, the configuration, or
// resets the device, and when it has submitted nothing for a while. Each side also
// ends a stream about which the other side is silent: after a loss of the link the host
// has nothing posted, and the client begins a new stream on the next link. Meanwhile the
// driver's URBs complete at their usual pace, without data.
//
// If the device refuses the URBs of the host, the stage passes those of the driver
// unchanged, so that the driver sees why.
package isochronous
