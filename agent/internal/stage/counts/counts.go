// Package counts defines what stages count, so that all of them are shown alike.
package counts

// Counts holds the work of one stage since the device was attached. A stage leaves
// the counts at zero that have no meaning for it.
type Counts struct {
	Commands  int64 // commands, requests or transfers of the driver that the stage handled
	Hits      int64 // of these, answered by what the stage had asked for or sent ahead
	Ahead     int64 // bytes fetched ahead
	Discarded int64 // of these, bytes that the driver did not read
	Late      int64 // isochronous packets that arrived too late
	Lost      int64 // isochronous packets that never arrived
	Recovered int64 // isochronous packets that were lost and computed from parity

	WriteCache bool  // the device has a write cache
	Cached     int64 // bytes of writes that the driver believed to be done before they were
	Unwritten  int64 // of these, bytes that the device does not have yet
	Unsaved    int64 // of these, bytes that the device will never have
}
