package tunnel

// Version is the protocol's version, which both Hellos must agree on.
const Version = 1

// Bounds, checked before allocation.
const (
	MaxTransfer    = 4 << 20 // bytes of data of one URB
	MaxIsoPackets  = 1024    // of one URB
	MaxFrame       = MaxTransfer + MaxIsoPackets*isoPacketSize + 256
	MaxControl     = 256 << 10 // bytes of a frame on lanes 0 and 1
	MaxLanes       = 4096      // of one session, both directions together
	MaxAttachments = 64        // of one session and direction
	MaxInFlight    = 512       // URBs of one attachment
	MaxDevices     = 256       // in one list
)

const isoPacketSize = 16

// Lane is where a frame is ordered; see the package comment.
type Lane uint32

// The lanes that are not an endpoint's.
const (
	LaneLink    Lane = 0
	LaneSession Lane = 1
)

// EndpointLane is the lane of an endpoint address of an attachment.
func EndpointLane(attachment uint16, endpoint uint8) Lane {
	if endpoint&0x0f == 0 {
		endpoint = 0
	}
	return Lane(attachment)<<8 | Lane(endpoint)
}

// Attachment returns the attachment whose lane it is, 0 for lanes 0 and 1.
func (l Lane) Attachment() uint16 { return uint16(l >> 8) }

// Endpoint returns the endpoint address whose lane it is.
func (l Lane) Endpoint() uint8 { return uint8(l) }

// Kind says what a frame's body is.
type Kind uint8

// The kinds. L, S and E say on which lanes they travel: the link's, the
// session's, an endpoint's; C and H who sends them: client, host, or both.
const (
	KindHello   Kind = 1 // L    JSON Hello
	KindPing    Kind = 2 // L    8 bytes, opaque
	KindPong    Kind = 3 // L    the Ping's 8 bytes
	KindAck     Kind = 4 // L    n × { lane 4, next 8 }
	KindGoodbye Kind = 5 // L    UTF-8 reason, at most 256 bytes

	KindDevices      Kind = 16 // S H  JSON Devices: the whole list, whenever it changed
	KindAttach       Kind = 17 // S C  JSON Attach
	KindAttached     Kind = 18 // S H  JSON Attached
	KindAttachFailed Kind = 19 // S H  JSON AttachFailed
	KindDetach       Kind = 20 // S C  JSON Detach
	KindDetached     Kind = 21 // S H  JSON Detached

	KindSubmit   Kind = 32 // E C  Submit, see its type
	KindCancel   Kind = 33 // E C  { urb 8 }
	KindComplete Kind = 34 // E H  Complete, see its type
)

// Frame is the unit that links carry. On the wire, big-endian:
//
//	length 4 (of the body) │ lane 4 │ seq 8 │ kind 1 │ body
//
// Body is not copied: its owner is the receiver once a frame has been
// delivered, and the sender must not change it once it has been sent.
type Frame struct {
	Lane Lane
	Seq  uint64 // from 1; 0 on LaneLink
	Kind Kind
	Body []byte
}

// HeaderSize is the length of a frame without its body.
const HeaderSize = 17
