package tunnel

import "crypto/sha256"

// Attach asks for a device.
type Attach struct {
	Attachment uint16 `json:"attachment"` // the client's choice; see the package comment
	Device     string `json:"device"`     // Device.ID
	// Expect is the SHA-256 of the descriptors at the time of consent: a
	// device that has become another one is refused. Empty: as it is now.
	Expect []byte `json:"expect,omitempty"`
	Force  bool   `json:"force,omitempty"` // although it is in use on its host, where the host allows that
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

// Attached says that the device is open and takes URBs.
type Attached struct {
	Attachment uint16 `json:"attachment"`
	Device     Device `json:"device"` // as it was opened, with its descriptors
}

// Encode returns the body of a KindAttached frame.
func (a Attached) Encode() []byte {
	a.Device = a.Device.fit()
	return encodeJSON(a)
}

// DecodeAttached reads the body of a KindAttached frame.
func DecodeAttached(body []byte) (Attached, error) {
	var a Attached
	if err := decodeJSON("Attached", body, &a); err != nil {
		return Attached{}, err
	}
	if a.Attachment == 0 {
		return Attached{}, malformed("Attached without an attachment")
	}
	return a, a.Device.check()
}

// Code says why a device was refused, or taken away, to a program.
type Code string

// The codes. An unknown one means CodeFailed.
const (
	CodeNotFound   Code = "not_found"  // AttachFailed: no such device, or not for this peer
	CodeDenied     Code = "denied"     // AttachFailed: the owner does not let this peer have it
	CodeInUse      Code = "in_use"     // AttachFailed: the host or another peer uses it
	CodePermission Code = "permission" // AttachFailed: the host's agent may not open it
	CodeChanged    Code = "changed"    // AttachFailed: its descriptors are not the expected ones
	CodeLimit      Code = "limit"      // AttachFailed: MaxAttachments
	CodeFailed     Code = "failed"     // anything else; the message says what

	CodeDetached  Code = "detached"  // Detached: as asked for
	CodeUnplugged Code = "unplugged" // Detached: the device is gone
	CodeRevoked   Code = "revoked"   // Detached: the owner took it back
	CodeProtocol  Code = "protocol"  // Detached: the client broke the protocol
)

// AttachFailed says that there will be no such attachment, and why.
type AttachFailed struct {
	Attachment uint16 `json:"attachment"`
	Code       Code   `json:"code"`
	Message    string `json:"message"` // one sentence for a person, at most MaxReason bytes
}

// Encode returns the body of a KindAttachFailed frame.
func (a AttachFailed) Encode() []byte {
	a.Message = clip(a.Message, MaxReason)
	return encodeJSON(a)
}

// DecodeAttachFailed reads the body of a KindAttachFailed frame.
func DecodeAttachFailed(body []byte) (AttachFailed, error) {
	var a AttachFailed
	if err := decodeJSON("AttachFailed", body, &a); err != nil {
		return AttachFailed{}, err
	}
	return a, checkEnd("AttachFailed", a.Attachment, a.Code, a.Message)
}

func checkEnd(what string, attachment uint16, code Code, text string) error {
	if attachment == 0 || len(code) > MaxWord || len(text) > MaxReason {
		return malformed("%s %d with a code of %d and a text of %d bytes", what, attachment, len(code), len(text))
	}
	return nil
}
