package ident_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

func key(t *testing.T, fill byte) ident.Key {
	t.Helper()
	k, err := ident.KeyFromSeed(bytes.Repeat([]byte{fill}, ed25519.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestWrittenPeerIDNeverChanges compares with a golden value. If the written form
// changed, all existing pairings would be lost.
func TestWrittenPeerIDNeverChanges(t *testing.T) {
	const want = "72ASYEX-TVNGONS-LC5W2NM-GUXZA3N-FRWEPPI-P5THYSP-S5577KU-RGHCEQF"
	id := key(t, 7).ID()
	if id.String() != want || id.Short() != want[:7] {
		t.Fatalf("%s, short %s; want %s", id, id.Short(), want)
	}
	got, err := ident.ParsePeerID(id.String())
	if err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	got, err = ident.ParsePeerID(strings.ToLower(strings.ReplaceAll(id.String(), "-", " ")))
	if err != nil || got != id {
		t.Errorf("in lower case with spaces: %v, %v", got, err)
	}
}

func TestMistypedPeerIDsAreRefused(t *testing.T) {
	id := key(t, 1).ID().String()
	for i := range id {
		if id[i] == '-' {
			continue
		}
		wrong := []byte(id)
		wrong[i] = 'A' + (wrong[i]-'A'+1)%26
		if id[i] < 'A' {
			wrong[i] = 'A'
		}
		if _, err := ident.ParsePeerID(string(wrong)); !errors.Is(err, ident.ErrPeerID) {
			t.Errorf("%s with character %d wrong: %v", id, i, err)
		}
	}
	for _, s := range []string{
		"", "-", id[1:], id + "A", strings.Repeat("A", 1000), strings.Replace(id, id[:1], "!", 1),
	} {
		if _, err := ident.ParsePeerID(s); !errors.Is(err, ident.ErrPeerID) {
			t.Errorf("%.20q: %v", s, err)
		}
	}
}

func TestPeerIDInJSON(t *testing.T) {
	id := key(t, 2).ID()
	b, err := json.Marshal(map[string]ident.PeerID{"id": id})
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]ident.PeerID
	if err := json.Unmarshal(b, &decoded); err != nil || decoded["id"] != id {
		t.Errorf("%s, %v", b, err)
	}
	if err := json.Unmarshal([]byte(`{"id":"invalid"}`), &decoded); !errors.Is(err, ident.ErrPeerID) {
		t.Errorf("an invalid ID: %v", err)
	}
}

func TestAddressesAndPINsAreParsed(t *testing.T) {
	for range 200 {
		a, err := ident.NewAddress(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ident.ParseAddress(strings.ToLower(strings.ReplaceAll(string(a), "-", "")))
		if err != nil || got != a {
			t.Fatalf("%s: %s, %v", a, got, err)
		}
		p, err := ident.NewPIN(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ident.ParsePIN(strings.ReplaceAll(string(p), "-", "")); err != nil || got != p || len(p) != 9 {
			t.Fatalf("%s: %s, %v", p, got, err)
		}
	}
	// 0, 1 and 8 count as the letters that they look like.
	if got, err := ident.ParseAddress("k7m2q2"); err != nil || got != "K7M-2Q2" {
		t.Errorf("%s, %v", got, err)
	}
	for _, s := range []string{"", "K7M-2QX", "K7M-2Q", "K7M-2Q22", "K7M-2Q?"} {
		if _, err := ident.ParseAddress(s); !errors.Is(err, ident.ErrAddress) {
			t.Errorf("address %q: %v", s, err)
		}
	}
	for _, s := range []string{"", "1234-567", "1234-56789", "1234-567a", "१२३४५६७८"} {
		if _, err := ident.ParsePIN(s); !errors.Is(err, ident.ErrPIN) {
			t.Errorf("PIN %q: %v", s, err)
		}
	}
}

// TestSignatureIsValidForOneStatement verifies a signature for another purpose, by
// another key and for other divisions of the same bytes into parts.
func TestSignatureIsValidForOneStatement(t *testing.T) {
	k, other := key(t, 1), key(t, 2)
	sig := k.Sign(ident.PurposeRegister, []byte("ab"), []byte("c"))
	for name, ok := range map[string]bool{
		"as signed":       ident.Verify(k.Public(), ident.PurposeRegister, sig, []byte("ab"), []byte("c")),
		"another purpose": !ident.Verify(k.Public(), ident.PurposeSignal, sig, []byte("ab"), []byte("c")),
		"another key":     !ident.Verify(other.Public(), ident.PurposeRegister, sig, []byte("ab"), []byte("c")),
		"divided":         !ident.Verify(k.Public(), ident.PurposeRegister, sig, []byte("a"), []byte("bc")),
		"joined":          !ident.Verify(k.Public(), ident.PurposeRegister, sig, []byte("abc")),
		"no key":          !ident.Verify(nil, ident.PurposeRegister, sig, []byte("ab"), []byte("c")),
	} {
		if !ok {
			t.Errorf("%s: Verify is wrong", name)
		}
	}
	if _, err := ident.KeyFromSeed([]byte("short")); err == nil {
		t.Error("a short seed is accepted")
	}
	if again, err := ident.KeyFromSeed(k.Seed()); err != nil || again.ID() != k.ID() {
		t.Errorf("the seed does not restore the key: %v", err)
	}
}

// handshake runs a TLS handshake over a pipe and returns the error of each side.
func handshake(client, server *tls.Config) (clientErr, serverErr error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		b.Close()
		done <- err
	}()
	c := tls.Client(a, client)
	clientErr = c.Handshake()
	if clientErr == nil {
		// In TLS 1.3 the server checks the client's certificate after the client's
		// handshake has ended.
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	a.Close()
	return clientErr, <-done
}

func TestMutualTLSAuthenticatesBothPeers(t *testing.T) {
	a, b, stranger := key(t, 1), key(t, 2), key(t, 3)
	config := func(own, wanted ident.Key) *tls.Config {
		c, err := ident.MutualTLS(own, "test/1", func(id ident.PeerID) error {
			if id != wanted.ID() {
				return errors.New("not wanted")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if cErr, sErr := handshake(config(a, b), config(b, a)); cErr != nil || sErr != nil {
		t.Errorf("two peers that trust each other: %v, %v", cErr, sErr)
	}
	if cErr, _ := handshake(config(a, b), config(stranger, a)); !errors.Is(cErr, ident.ErrUntrusted) {
		t.Errorf("a stranger as the server: %v", cErr)
	}
	if _, sErr := handshake(config(stranger, b), config(b, a)); !errors.Is(sErr, ident.ErrUntrusted) {
		t.Errorf("a stranger as the client: %v", sErr)
	}
	anonymous := config(a, b)
	anonymous.Certificates = nil
	if _, sErr := handshake(anonymous, config(b, a)); sErr == nil {
		t.Error("a client without a certificate is accepted")
	}
}

func parse(t *testing.T, c tls.Certificate) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestPinnedTLSAcceptsOnlyPinnedKey(t *testing.T) {
	cert, err := key(t, 1).Certificate()
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	var pin ident.Pin
	probe := ident.PinnedTLS(pin)
	if cErr, _ := handshake(probe, server); !errors.Is(cErr, ident.ErrUntrusted) {
		t.Errorf("a server with another key: %v", cErr)
	}
	seen, err := ident.ParsePin(ident.PinOf(parse(t, cert)).String())
	if err != nil {
		t.Fatal(err)
	}
	if cErr, sErr := handshake(ident.PinnedTLS(seen), server); cErr != nil || sErr != nil {
		t.Errorf("the pinned server: %v, %v", cErr, sErr)
	}
	if _, err := ident.ParsePin("AAAA"); err == nil {
		t.Error("a short pin is accepted")
	}
}

func FuzzParsePeerID(f *testing.F) {
	f.Add("")
	f.Add(ident.PeerID{1, 2, 3}.String())
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ident.ParsePeerID(s)
		if err != nil {
			return
		}
		if again, err := ident.ParsePeerID(id.String()); err != nil || again != id {
			t.Errorf("%q is parsed as %s, which is parsed as %s, %v", s, id, again, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	f.Add("K7M-2Q2")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ident.ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := ident.ParseAddress(string(a)); err != nil || again != a {
			t.Errorf("%q is parsed as %s, which is parsed as %s, %v", s, a, again, err)
		}
	})
}
