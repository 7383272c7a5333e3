// Package cpace implements CPace, a balanced password-authenticated key exchange
// (draft-irtf-cfrg-cpace): the suite CPACE-RISTRETTO255-SHA512 in the
// initiator-responder setting, with the tags of "Key confirmation". Comments in
// this package quote the titles of the draft's sections.
//
//	initiator                                     responder
//	│ Ya, ADa ─────────────────────────────────────►│
//	│◄───────────────────────────────────── Yb, ADb │
//	both compute ISK, which is equal on both sides only if the password, CI,
//	sid and the transcript are
//	│◄──────────────────────────────────── Tag(Yb, ADb)
//	│ Tag(Ya, ADa) ────────────────────────────────►│
//
// An attacker can test only one guess of the password in each run.
package cpace

import (
	"crypto/hmac"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"

	"github.com/gtank/ristretto255"
)

const (
	// ShareSize is the length of a public share (Ya, Yb), in bytes.
	ShareSize = 32
	// KeySize is the length of the session key ISK, in bytes.
	KeySize = sha512.Size
	// TagSize is the length of a confirmation tag, in bytes.
	TagSize = sha512.Size

	dsi       = "CPaceRistretto255"
	scalarLen = 32
)

// ErrShare is returned for a share that is not an element of the group, or is its
// neutral element. The run must be aborted ("CPace protocol instructions").
var ErrShare = errors.New("CPace share is not a valid group element")

// Input holds the inputs that both parties must have in common.
type Input struct {
	Password  []byte // PRS
	Channel   []byte // CI, the channel identifier; may be empty
	SessionID []byte // sid; may be empty
}

// Party is one side of a run. It must be used for only one run.
type Party struct {
	sid    []byte
	scalar *ristretto255.Scalar
	share  []byte
}

// New returns a party with a secret scalar that is read from random.
func New(in Input, random io.Reader) (*Party, error) {
	raw := make([]byte, scalarLen)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("CPace scalar: %w", err)
	}
	// G_Ristretto255.sample_scalar: keep the lower 252 bits. The result is below
	// the order of the group, and so is canonical.
	raw[scalarLen-1] &= 0x0f
	scalar, err := ristretto255.NewScalar().SetCanonicalBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("CPace scalar: %w", err)
	}
	g, err := generator(in)
	if err != nil {
		return nil, err
	}
	share := ristretto255.NewIdentityElement().ScalarMult(scalar, g).Bytes()
	return &Party{sid: in.SessionID, scalar: scalar, share: share}, nil
}

// Share returns the public share of this party, which has ShareSize bytes.
func (p *Party) Share() []byte { return p.share }

// Message is the message of a party: its share and its associated data. The run
// authenticates the associated data but does not encrypt them.
type Message struct {
	Share []byte
	Data  []byte
}

// Initiate finishes the run of the initiator and returns the session key. ownData
// are the associated data that the initiator sent; theirs is the message of the
// responder. The error wraps ErrShare if the responder's share is not valid.
func (p *Party) Initiate(ownData []byte, theirs Message) (Key, error) {
	return p.key(theirs.Share, Message{p.share, ownData}, theirs)
}

// Respond finishes the run of the responder and returns the session key. theirs
// is the message of the initiator; ownData are the associated data of the
// responder. The error wraps ErrShare if the initiator's share is not valid.
func (p *Party) Respond(theirs Message, ownData []byte) (Key, error) {
	return p.key(theirs.Share, theirs, Message{p.share, ownData})
}

func (p *Party) key(share []byte, initiator, responder Message) (Key, error) {
	secret, err := p.multiply(share)
	if err != nil {
		return Key{}, err
	}
	transcript := concat(initiator.Share, initiator.Data, responder.Share, responder.Data)
	h := sha512.New()
	h.Write(concat([]byte(dsi+"_ISK"), p.sid, secret))
	h.Write(transcript)
	return Key{sid: p.sid, isk: h.Sum(nil)}, nil
}

// multiply implements G.scalar_mult_vfy. It returns ErrShare where the protocol
// demands an abort.
func (p *Party) multiply(share []byte) ([]byte, error) {
	point, err := ristretto255.NewIdentityElement().SetCanonicalBytes(share)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShare, err)
	}
	product := ristretto255.NewIdentityElement().ScalarMult(p.scalar, point)
	if product.Equal(ristretto255.NewIdentityElement()) == 1 {
		return nil, fmt.Errorf("%w: neutral element", ErrShare)
	}
	return product.Bytes(), nil
}

// Key is the session key of a finished run (ISK).
type Key struct {
	sid, isk []byte
}

// Bytes returns the key, which has KeySize bytes. Callers must pass it to a key
// derivation function and not use it directly ("Key derivation").
func (k Key) Bytes() []byte { return k.isk }

// Tag returns the confirmation tag that the sender of m sends to the other party.
// It has TagSize bytes.
func (k Key) Tag(m Message) []byte {
	h := sha512.New()
	h.Write([]byte("CPaceMac"))
	h.Write(k.sid)
	h.Write(k.isk)
	mac := hmac.New(sha512.New, h.Sum(nil))
	mac.Write(concat(m.Share, m.Data))
	return mac.Sum(nil)
}

// Confirms reports whether tag is the other party's tag for its message m. It
// takes constant time.
func (k Key) Confirms(tag []byte, m Message) bool { return hmac.Equal(tag, k.Tag(m)) }

// generator implements G.calculate_generator.
func generator(in Input) (*ristretto255.Element, error) {
	hash := sha512.Sum512(generatorString(in))
	g, err := ristretto255.NewIdentityElement().SetUniformBytes(hash[:])
	if err != nil {
		return nil, fmt.Errorf("CPace generator: %w", err)
	}
	return g, nil
}

// generatorString implements generator_string. It pads the password to the first
// block of the hash, so that the time of the hash does not depend on the
// password's length.
func generatorString(in Input) []byte {
	const block = sha512.BlockSize
	padding := max(0, block-1-len(concat(in.Password))-len(concat([]byte(dsi))))
	return concat([]byte(dsi), in.Password, make([]byte, padding), in.Channel, in.SessionID)
}

// concat implements lv_cat: it puts the length of each part, in LEB128, before the
// part.
func concat(parts ...[]byte) []byte {
	var b []byte
	for _, part := range parts {
		n := len(part)
		for ; n >= 0x80; n >>= 7 {
			b = append(b, byte(n)|0x80)
		}
		b = append(append(b, byte(n)), part...)
	}
	return b
}
