package tunnel

// Detach gives a device back.
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

// Detached says that an attachment is over and its device given back. It is
// the last that is heard of the attachment on lane 1.
type Detached struct {
	Attachment uint16 `json:"attachment"`
	Code       Code   `json:"code"`
	Reason     string `json:"reason"` // one sentence for a person, at most MaxReason bytes
}

// Encode returns the body of a KindDetached frame.
func (d Detached) Encode() []byte {
	d.Reason = clip(d.Reason, MaxReason)
	return encodeJSON(d)
}

// DecodeDetached reads the body of a KindDetached frame.
func DecodeDetached(body []byte) (Detached, error) {
	var d Detached
	if err := decodeJSON("Detached", body, &d); err != nil {
		return Detached{}, err
	}
	return d, checkEnd("Detached", d.Attachment, d.Code, d.Reason)
}
