// Package ahead hides the distance to endpoints whose drivers wait for the device. A
// [Stage] does two things. A [Plan] names the endpoints for which they are safe.
//
// # Transfers posted ahead
//
// A driver of a mouse keeps one interrupt transfer posted. Across the internet the next
// one reaches the host a round trip after the report, and the device is not polled
// until then. The stage posts transfers of its own, so that the host always has one:
//
//	driver   ──► wanted ──┐
//	                      ├──► the oldest of both belong together
//	host     ──► arrived ─┘
//
// A transfer that the stage posts has the length and the flags of the driver's. The
// results go to the driver's URBs in order, each to one. A driver that keeps transfers
// posted sees what it would see on the host's machine.
//
// The first URB of the driver begins the posting. Posted transfers that nothing answers
// cost nothing. The posting ends, and the stage cancels all that is posted, when
//
//   - the driver cancels its last URB. That URB completes when the host has nothing
//     left. If a report came meanwhile, the URB gets it, as on the host's machine.
//   - the driver leaves the endpoint without an URB for pauseTimeout. It polls on demand,
//     so the device must keep its next report.
//   - a transfer fails. One URB of the driver gets the error. The errors of transfers
//     behind it are dropped if no URB of the driver waits: no driver asked for these.
//   - the driver asks for another length, or with other flags.
//   - a request selects a configuration or an alternate setting, clears the endpoint's
//     halt, or resets the device. The request waits until nothing is posted, and what
//     has arrived is dropped.
//
// Reports that arrive while the driver has no URB are kept for its next one. They would
// wait in the device otherwise. After a cancellation they are dropped when the driver
// does not come back within Policy.TTL, like the report of a device whose driver was
// unbound.
//
// The number of transfers posted ahead covers the round trip: the driver's interval and
// the measured round trip bound it. A driver that leaves the endpoint without an URB, or
// that cancels soon what it submits, gets fewer, and then none; one that takes reports
// at once gets more.
//
// # OUT transfers answered early
//
// A program that writes a request and reads the response waits for two round trips. If
// the response is the verdict on the request, the stage completes the OUT when it has
// sent it. If the device does not take it, the next IN of the exchange ends with the
// error, or the next OUT if that comes first. Then OUTs are answered by the device until
// one succeeds.
//
// A request on endpoint 0 waits until the device has taken the OUTs before it.
package ahead
