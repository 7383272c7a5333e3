package tunnel

import (
	"encoding/binary"
	"slices"
)

// FeatureCopies is the feature of an agent that understands KindCopy.
const FeatureCopies = "copies"

// MaxCopied is the longest body of a frame that fits into a Copy.
const MaxCopied = MaxLossy - copySize

const copySize = 9

// Copy repeats a frame of its lane, so that the loss of a packet does not delay the frame by a round trip. The receiver
// delivers the frame if it is the next one of the lane, and drops the Copy otherwise. On the wire:
//
//	seq 8 │ kind 1 │ body
type Copy struct {
	Seq  uint64
	Kind Kind
	Body []byte // at most MaxCopied bytes
}

// Encode returns the body of a KindCopy frame, with a copy of Body.
func (c Copy) Encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, copySize+len(c.Body)), c.Seq)
	return append(append(b, byte(c.Kind)), c.Body...)
}

// DecodeCopy reads the body of a KindCopy frame. Body does not share memory with it.
func DecodeCopy(body []byte) (Copy, error) {
	if len(body) < copySize || len(body) > MaxLossy {
		return Copy{}, malformed("Copy of %d bytes", len(body))
	}
	c := Copy{Seq: binary.BigEndian.Uint64(body), Kind: Kind(body[8]), Body: slices.Clone(body[copySize:])}
	if c.Seq == 0 || c.Kind < KindSubmit || c.Kind > KindComplete {
		return Copy{}, malformed("Copy of frame %d of kind %d", c.Seq, c.Kind)
	}
	return c, nil
}
