package ident

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// Address is an EasyFind address: the short, one-time name of a pairing
// mailbox at a rendezvous, as "K7M-2Q2". It is public; the PIN is the secret.
// The zero Address is none.
type Address string

const (
	addressChars = 6 // the last one is a check character: 25 bits
	addressGroup = 3
)

// ErrAddress is the error of every string that is no EasyFind address.
var ErrAddress = errors.New("not an EasyFind address")

// NewAddress draws an address.
func NewAddress(random io.Reader) (Address, error) {
	var raw [addressChars - 1]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("new address: %w", err)
	}
	for i := range raw {
		raw[i] = alphabet[raw[i]%32]
	}
	return Address(dashed(string(append(raw[:], checkChar(string(raw[:])))), addressGroup)), nil
}

// ParseAddress reads an address with or without its dash, in any case.
func ParseAddress(s string) (Address, error) {
	checked, err := clean(s, addressChars)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAddress, err)
	}
	if checkChar(checked[:addressChars-1]) != checked[addressChars-1] {
		return "", fmt.Errorf("%w: a character of %q is mistyped", ErrAddress, s)
	}
	return Address(dashed(checked, addressGroup)), nil
}

// PIN is the secret beside an address: eight decimal digits, as "4821-9930"
// (26 bits; a rendezvous and a host allow three guesses).
type PIN string

const pinDigits = 8

// ErrPIN is the error of every string that is no PIN.
var ErrPIN = errors.New("not a PIN: want eight digits, such as 4821-9930")

// NewPIN draws a PIN.
func NewPIN(random io.Reader) (PIN, error) {
	n, err := rand.Int(random, big.NewInt(100_000_000))
	if err != nil {
		return "", fmt.Errorf("new PIN: %w", err)
	}
	return PIN(dashed(fmt.Sprintf("%0*d", pinDigits, n), pinDigits/2)), nil
}

// ParsePIN reads a PIN with or without its dash.
func ParsePIN(s string) (PIN, error) {
	digits := strings.NewReplacer("-", "", " ", "").Replace(strings.TrimSpace(s))
	if len(digits) != pinDigits || strings.Trim(digits, "0123456789") != "" {
		return "", ErrPIN
	}
	return PIN(dashed(digits, pinDigits/2)), nil
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// clean upper-cases s, drops dashes and spaces, reads 0, 1 and 8 as the
// letters they are mistaken for, and demands n characters of the alphabet.
func clean(s string, n int) (string, error) {
	if len(s) > 4*n {
		return "", fmt.Errorf("%d characters, want %d", len(s), n)
	}
	s = strings.NewReplacer("-", "", " ", "", "0", "O", "1", "I", "8", "B").Replace(strings.ToUpper(strings.TrimSpace(s)))
	if len(s) != n {
		return "", fmt.Errorf("%d characters, want %d", len(s), n)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(alphabet, r) }); i >= 0 {
		return "", fmt.Errorf("%q is not used in it", s[i])
	}
	return s, nil
}

// checkChar is the Luhn mod 32 check character of s, which holds characters of
// the alphabet only. It catches every single wrong character and nearly every
// swap of two neighbours.
func checkChar(s string) byte {
	sum, factor := 0, 2
	for i := len(s) - 1; i >= 0; i-- {
		v := factor * strings.IndexByte(alphabet, s[i])
		sum += v/32 + v%32
		factor = 3 - factor
	}
	return alphabet[(32-sum%32)%32]
}

func dashed(s string, group int) string {
	var b strings.Builder
	for i := 0; i < len(s); i += group {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(s[i:min(i+group, len(s))])
	}
	return b.String()
}
