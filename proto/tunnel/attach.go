package tunnel

import "crypto/sha256"

// Attach asks the host for a device.
type Attach struct {
	Attachment uint16 `json:"attachment"` // the client chooses it; see the package comment
	Device     string `json:"device"`     // Device.ID
	// Expect is the SHA-256 of the descriptors at the time of consent. The host refuses a device with other
	// descriptors. Empty accepts the device as it is now.
	Expect []byte `json:"expect,omitempty"`
	// Limit is the rate at which the host may send on the lanes of the attachment, in bits per second; 0 is no limit.
	Limit uint64 `json:"limit,omitempty"`
	// Ahead announces that the client may submit the parts of several exchanges at once. It marks their URBs in fields
	// that have no meaning for bulk transfers. A host that does not know Ahead ignores it.
	Ahead bool `json:"ahead,omitempty"`
	// Isochronous announces that the client can exchange isochronous packets in lossy frames.
	Isochronous bool `json:"isochronous,omitempty"`
}

// Encode returns the body of a KindAttach frame.
func (a Attach) Encode() []byte { return encodeJSON(a) }

// DecodeAttach reads the body of a KindAttach frame.
func DecodeAttach(body []byte) (Attach, error) {
	var a Attach
	if err := decodeJSON("Attach", body, &a); err != nil {
		return Attach{}, err
	}
	if a.Attachment == 0 || a.Device == "" || len(a.Device) > MaxText {
		return Attach{}, malformed("Attach %d of a device with an id of %d bytes", a.Attachment, len(a.Device))
	}
	if len(a.Expect) != 0 && len(a.Expect) != sha256.Size {
		return Attach{}, malformed("Attach expects a digest of %d bytes, want %d", len(a.Expect), sha256.Size)
	}
	return a, nil
}

// AttachReply reports that the device is open and accepts URBs.
type AttachReply struct {
	Attachment uint16 `json:"attachment"`
	Device     Device `json:"device"` // as it was opened, with its descriptors
	// Guarded is the answer to Attach.Ahead: the host runs the parts in order. Without it, the client marks no URB.
	Guarded bool `json:"guarded,omitempty"`
	// Isochronous is the answer to Attach.Isochronous: the host understands lossy frames on the lanes of isochronous
	// endpoints. Without it, neither side sends any.
	Isochronous bool `json:"isochronous,omitempty"`
}

// Encode returns the body of a KindAttached frame.
func (a AttachReply) Encode() []byte {
	a.Device = a.Device.fit()
	return encodeJSON(a)
}

// DecodeAttachReply reads the body of a KindAttached frame.
func DecodeAttachReply(body []byte) (AttachReply, error) {
	var a AttachReply
	if err := decodeJSON("AttachReply", body, &a); err != nil {
		return AttachReply{}, err
	}
	if a.Attachment == 0 {
		return AttachReply{}, malformed("AttachReply without an attachment")
	}
	return a, a.Device.check()
}

// Code is the reason, for a program, why a host refused a device or took it back.
type Code string

// The codes. A receiver treats an unknown one as CodeFailed.
const (
	CodeNotFound   Code = "not_found"  // AttachFailure: no such device, or not for this peer
	CodeDenied     Code = "denied"     // AttachFailure: the owner does not let this peer have it
	CodeInUse      Code = "in_use"     // AttachFailure: the host or another peer uses it
	CodePermission Code = "permission" // AttachFailure: the host's agent may not open it
	CodeChanged    Code = "changed"    // AttachFailure: its descriptors are not the expected ones
	CodeLimit      Code = "limit"      // AttachFailure: MaxAttachments
	CodeFailed     Code = "failed"     // any other reason, which the message explains

	CodeDetached  Code = "detached"  // DetachReply: the client detached it
	CodeUnplugged Code = "unplugged" // DetachReply: the device is gone
	CodeRevoked   Code = "revoked"   // DetachReply: the owner took it back
	CodeProtocol  Code = "protocol"  // DetachReply: the client broke the protocol
)

// AttachFailure reports that the host does not make the attachment, and why.
type AttachFailure struct {
	Attachment uint16 `json:"attachment"`
	Code       Code   `json:"code"`
	Message    string `json:"message"` // one sentence for a person, at most MaxReason bytes
}

// Encode returns the body of a KindAttachFailed frame.
func (a AttachFailure) Encode() []byte {
	a.Message = clip(a.Message, MaxReason)
	return encodeJSON(a)
}

// DecodeAttachFailure reads the body of a KindAttachFailed frame.
func DecodeAttachFailure(body []byte) (AttachFailure, error) {
	var a AttachFailure
	if err := decodeJSON("AttachFailure", body, &a); err != nil {
		return AttachFailure{}, err
	}
	return a, checkEnd("AttachFailure", a.Attachment, a.Code, a.Message)
}

func checkEnd(message string, attachment uint16, code Code, text string) error {
	if attachment == 0 || len(code) > MaxWord || len(text) > MaxReason {
		return malformed("%s %d with a code of %d and a text of %d bytes", message, attachment, len(code), len(text))
	}
	return nil
}
