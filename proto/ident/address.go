package ident

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// Address is an EasyFind address: the short name of a pairing mailbox at a
// rendezvous, such as "K7M-2Q2", which is used only once. It is public; the PIN is
// the secret. The zero Address is invalid.
type Address string

const (
	addressChars = 6 // five characters of 5 random bits each, and a check character
	addressGroup = 3 // characters between two dashes
)

// ErrAddress is returned for a string that is not an EasyFind address.
var ErrAddress = errors.New("not an EasyFind address")

// NewAddress returns a random address.
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

// ParseAddress parses an address in upper or lower case, with or without dashes and
// spaces. Errors wrap ErrAddress.
func ParseAddress(s string) (Address, error) {
	checked, err := normalize(s, addressChars)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAddress, err)
	}
	if checkChar(checked[:addressChars-1]) != checked[addressChars-1] {
		return "", fmt.Errorf("%w: a character of %q is mistyped", ErrAddress, s)
	}
	return Address(dashed(checked, addressGroup)), nil
}

// PIN is the secret that belongs to an address: eight decimal digits, such as
// "4821-9930". It has 26 bits, and a guesser has three tries.
type PIN string

const pinDigits = 8

// ErrPIN is returned for a string that is not a PIN.
var ErrPIN = errors.New("not a PIN: want eight digits, such as 4821-9930")

// NewPIN returns a random PIN.
func NewPIN(random io.Reader) (PIN, error) {
	n, err := rand.Int(random, big.NewInt(100_000_000))
	if err != nil {
		return "", fmt.Errorf("new PIN: %w", err)
	}
	return PIN(dashed(fmt.Sprintf("%0*d", pinDigits, n), pinDigits/2)), nil
}

// ParsePIN parses a PIN with or without dashes and spaces. The error is ErrPIN.
func ParsePIN(s string) (PIN, error) {
	digits := strings.NewReplacer("-", "", " ", "").Replace(strings.TrimSpace(s))
	if len(digits) != pinDigits || strings.Trim(digits, "0123456789") != "" {
		return "", ErrPIN
	}
	return PIN(dashed(digits, pinDigits/2)), nil
}

// alphabet holds the characters of base32 (RFC 4648). It has no 0, 1 and 8, which
// are easily mistaken for letters.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// typos maps characters that people type by mistake, and removes separators.
var typos = strings.NewReplacer("-", "", " ", "", "0", "O", "1", "I", "8", "B")

// normalize returns s in upper case, without dashes and spaces, and with 0, 1 and
// 8 replaced by the letters O, I and B. It fails unless the result consists of n
// characters of the alphabet.
func normalize(s string, n int) (string, error) {
	if len(s) > 4*n {
		return "", fmt.Errorf("%d characters, want %d", len(s), n)
	}
	s = typos.Replace(strings.ToUpper(strings.TrimSpace(s)))
	if len(s) != n {
		return "", fmt.Errorf("%d characters, want %d", len(s), n)
	}
	for _, r := range s {
		if !strings.ContainsRune(alphabet, r) {
			return "", fmt.Errorf("the character %q does not occur in it", r)
		}
	}
	return s, nil
}

// checkChar returns the Luhn mod 32 check character of s, which must consist of
// characters of the alphabet. It detects every single wrong character and nearly
// every exchange of two neighbouring characters.
func checkChar(s string) byte {
	sum, factor := 0, 2
	for i := len(s) - 1; i >= 0; i-- {
		v := factor * strings.IndexByte(alphabet, s[i])
		sum += v/32 + v%32
		factor = 3 - factor
	}
	return alphabet[(32-sum%32)%32]
}

// dashed returns s with a dash after every group of characters.
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
