package tunnel

// Detach gives a device back to the host.
type Detach struct {
	Attachment uint16 `json:"attachment"`
}

// Encode returns the body of a KindDetach frame.
func (d Detach) Encode() []byte { return encodeJSON(d) }

// DecodeDetach reads the body of a KindDetach frame.
func DecodeDetach(body []byte) (Detach, error) {
	var d Detach
	if err := decodeJSON("Detach", body, &d); err != nil {
		return Detach{}, err
	}
	if d.Attachment == 0 {
		return Detach{}, malformed("Detach without an attachment")
	}
	return d, nil
}

// DetachReply reports that an attachment has ended and that the host has its device back. It is the last message
// about the attachment on lane 1.
type DetachReply struct {
	Attachment uint16 `json:"attachment"`
	Code       Code   `json:"code"`
	Reason     string `json:"reason"` // one sentence for a person, at most MaxReason bytes
}

// Encode returns the body of a KindDetached frame.
func (d DetachReply) Encode() []byte {
	d.Reason = clip(d.Reason, MaxReason)
	return encodeJSON(d)
}

// DecodeDetachReply reads the body of a KindDetached frame.
func DecodeDetachReply(body []byte) (DetachReply, error) {
	var d DetachReply
	if err := decodeJSON("DetachReply", body, &d); err != nil {
		return DetachReply{}, err
	}
	return d, checkEnd("DetachReply", d.Attachment, d.Code, d.Reason)
}
