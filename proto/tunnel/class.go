package tunnel

// Class is the urgency of the frames of a lane: more urgent ones are sent first. It is not sent. Each side derives it
// from the device's descriptors.
type Class uint8

// The classes, least urgent first.
const (
	ClassBulk        Class = iota // disks, and lanes of which nothing is known
	ClassSerial                   // data of serial adapters
	ClassIsochronous              // audio and video
	ClassInteractive              // control and interrupt transfers, messages of the link and the session

	Classes = 4
)
