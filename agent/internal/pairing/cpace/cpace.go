// Package cpace is CPace, a balanced password-authenticated key exchange, in
// its suite CPACE-RISTRETTO255-SHA512 and its initiator-responder setting
// (draft-irtf-cfrg-cpace; its parts are named here by their titles), with the
// tags of its "Key confirmation".
//
//	initiator                                     responder
//	│ Ya, ADa ─────────────────────────────────────►│
//	│◄───────────────────────────────────── Yb, ADb │
//	both: ISK, equal if and only if password, CI, sid and the transcript are
//	│◄──────────────────────────────────── Tag(Yb, ADb)
//	│ Tag(Ya, ADa) ────────────────────────────────►│
//
// Whoever does not know the password learns one thing from one run: whether
// one guess was right.
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

// ErrShare is the error of a share that is no element of the group, or its
// neutral one. The run must be given up ("CPace protocol instructions").
var ErrShare = errors.New("CPace share is not a valid group element")

// Input is what both ends must know alike beforehand.
type Input struct {
	Password  []byte // PRS
	Channel   []byte // CI: between whom; may be empty
	SessionID []byte // sid; may be empty
}

// Party is one end of one run. It must be used for one run only.
type Party struct {
	sid    []byte
	scalar *ristretto255.Scalar
	share  []byte
}

// New draws the secret scalar from random and computes the share.
func New(in Input, random io.Reader) (*Party, error) {
	raw := make([]byte, scalarLen)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("CPace scalar: %w", err)
	}
	// G_Ristretto255.sample_scalar: clear what is above the 252 bits of the
	// group's size. The result is below the order, so that it is canonical.
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

// Share returns this end's public share, of ShareSize bytes.
func (p *Party) Share() []byte { return p.share }

// Message is what one end sends: its share and its associated data, which the
// run authenticates but does not hide.
type Message struct {
	Share []byte
	Data  []byte
}

// Initiate finishes the run of the initiator, who sent own, with the
// responder's message, and returns the session key.
func (p *Party) Initiate(ownData []byte, theirs Message) (Key, error) {
	return p.key(theirs.Share, Message{p.share, ownData}, theirs)
}

// Respond finishes the run of the responder, with the initiator's message, and
// returns the session key.
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

// multiply is G.scalar_mult_vfy with the abort that must follow it.
func (p *Party) multiply(share []byte) ([]byte, error) {
	point, err := ristretto255.NewIdentityElement().SetCanonicalBytes(share)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShare, err)
	}
	product := ristretto255.NewIdentityElement().ScalarMult(p.scalar, point)
	if product.Equal(ristretto255.NewIdentityElement()) == 1 {
		return nil, fmt.Errorf("%w: the neutral one", ErrShare)
	}
	return product.Bytes(), nil
}

// Key is the session key of a finished run (ISK).
type Key struct {
	sid, isk []byte
}

// Bytes returns the KeySize bytes. They are for a key derivation function, not
// for use as they are ("Key derivation").
func (k Key) Bytes() []byte { return k.isk }

// Tag is the confirmation that the sender of m shows to the other end.
func (k Key) Tag(m Message) []byte {
	h := sha512.New()
	h.Write([]byte("CPaceMac"))
	h.Write(k.sid)
	h.Write(k.isk)
	mac := hmac.New(sha512.New, h.Sum(nil))
	mac.Write(concat(m.Share, m.Data))
	return mac.Sum(nil)
}

// Confirms reports, in constant time, whether tag is the other end's tag of
// its message m.
func (k Key) Confirms(tag []byte, m Message) bool { return hmac.Equal(tag, k.Tag(m)) }

// generator is G.calculate_generator.
func generator(in Input) (*ristretto255.Element, error) {
	hash := sha512.Sum512(generatorString(in))
	g, err := ristretto255.NewIdentityElement().SetUniformBytes(hash[:])
	if err != nil {
		return nil, fmt.Errorf("CPace generator: %w", err)
	}
	return g, nil
}

// generatorString pads so that the password fills the first block of the hash:
// its time does not tell the password's length.
func generatorString(in Input) []byte {
	const block = sha512.BlockSize
	padding := max(0, block-1-len(concat(in.Password))-len(concat([]byte(dsi))))
	return concat([]byte(dsi), in.Password, make([]byte, padding), in.Channel, in.SessionID)
}

// concat is lv_cat: every part behind its length, in LEB128.
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
