package cpace

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/gtank/ristretto255"
)

// Test vectors of draft-irtf-cfrg-cpace, appendix B.3.
const (
	vectorCI    = "0b415f696e69746961746f720b425f726573706f6e646572"
	vectorSID   = "7e4b4791d6a8ef019b936c79fb7f2c57"
	vectorGen   = "222b6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7e56"
	vectorYaSec = "da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08"
	vectorYa    = "d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157"
	vectorYbSec = "d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d"
	vectorYb    = "3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258"
	vectorK     = "80b69a8a76457ab6a4d7f887a4bf6b55a2f80ac19c333f917a05fc9887c8b40f"
	vectorISK   = "b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd" +
		"2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func vectorInput(t *testing.T) Input {
	return Input{Password: []byte("Password"), Channel: unhex(t, vectorCI), SessionID: unhex(t, vectorSID)}
}

func TestRunMatchesVectors(t *testing.T) {
	in := vectorInput(t)
	want := "11435061636552697374726574746f3235350850617373776f7264" + "64" + strings.Repeat("00", 100) +
		"18" + vectorCI + "10" + vectorSID
	if got := hex.EncodeToString(generatorString(in)); got != want {
		t.Errorf("generator string\n got %s\nwant %s", got, want)
	}
	g, err := generator(in)
	if err != nil || hex.EncodeToString(g.Bytes()) != vectorGen {
		t.Errorf("generator %x, %v, want %s", g.Bytes(), err, vectorGen)
	}
	a, errA := New(in, bytes.NewReader(unhex(t, vectorYaSec)))
	b, errB := New(in, bytes.NewReader(unhex(t, vectorYbSec)))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if got := hex.EncodeToString(a.Share()); got != vectorYa {
		t.Errorf("Ya %s, want %s", got, vectorYa)
	}
	if got := hex.EncodeToString(b.Share()); got != vectorYb {
		t.Errorf("Yb %s, want %s", got, vectorYb)
	}
	for name, run := range map[string]func() ([]byte, error){
		"ya*Yb": func() ([]byte, error) { return a.multiply(b.Share()) },
		"yb*Ya": func() ([]byte, error) { return b.multiply(a.Share()) },
	} {
		if k, err := run(); err != nil || hex.EncodeToString(k) != vectorK {
			t.Errorf("%s: K %x, %v, want %s", name, k, err, vectorK)
		}
	}
	ka, errA := a.Initiate([]byte("ADa"), Message{b.Share(), []byte("ADb")})
	kb, errB := b.Respond(Message{a.Share(), []byte("ADa")}, []byte("ADb"))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for name, k := range map[string]Key{"initiator": ka, "responder": kb} {
		if got := hex.EncodeToString(k.Bytes()); got != vectorISK {
			t.Errorf("ISK of the %s %s, want %s", name, got, vectorISK)
		}
	}
}

func TestMultiplicationMatchesVectors(t *testing.T) {
	const (
		scalar  = "7cd0e075fa7955ba52c02759a6c90dbbfc10e6d40aea8d283e407d88cf538a05"
		valid   = "2c3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c"
		product = "7c13645fe790a468f62c39beb7388e541d8405d1ade69d1778c5fe3e7f6b600e"
		invalid = "2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c"
	)
	s, err := ristretto255.NewScalar().SetCanonicalBytes(unhex(t, scalar))
	if err != nil {
		t.Fatal(err)
	}
	p := &Party{scalar: s}
	if got, err := p.multiply(unhex(t, valid)); err != nil || hex.EncodeToString(got) != product {
		t.Errorf("valid share: %x, %v, want %s", got, err, product)
	}
	for name, share := range map[string][]byte{
		"not an element": unhex(t, invalid), "neutral": make([]byte, ShareSize), "short": {1}, "none": nil,
	} {
		if got, err := p.multiply(share); !errors.Is(err, ErrShare) {
			t.Errorf("%s: %x, %v, want %v", name, got, err, ErrShare)
		}
	}
}

func TestLengthEncodingMatchesVectors(t *testing.T) {
	const want = "043132333401350003363738"
	if got := hex.EncodeToString(concat([]byte("1234"), []byte("5"), nil, []byte("678"))); got != want {
		t.Errorf("lv_cat: %s, want %s", got, want)
	}
	if got := concat(make([]byte, 128)); len(got) != 130 || got[0] != 0x80 || got[1] != 1 {
		t.Errorf("prepend_len of 128 bytes starts with %x, want 8001", got[:2])
	}
}

// TestKeysAgreeOnlyWithEqualInputs changes one input of one party at a time.
func TestKeysAgreeOnlyWithEqualInputs(t *testing.T) {
	type party struct {
		in       Input
		ownData  string
		seenData string
	}
	base := func() (a, b party) {
		in := Input{Password: []byte("4821-9930"), Channel: []byte("K7M-2QX"), SessionID: []byte("s")}
		return party{in, "client", "host"}, party{in, "host", "client"}
	}
	for name, change := range map[string]func(a, b *party){
		"nothing":        func(a, b *party) {},
		"password":       func(a, b *party) { b.in.Password = []byte("4821-9931") },
		"channel":        func(a, b *party) { a.in.Channel = []byte("K7M-2QY") },
		"session":        func(a, b *party) { b.in.SessionID = nil },
		"initiator's AD": func(a, b *party) { b.seenData = "mallory" },
		"responder's AD": func(a, b *party) { a.seenData = "mallory" },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := base()
			change(&a, &b)
			pa, errA := New(a.in, rand.Reader)
			pb, errB := New(b.in, rand.Reader)
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
			ka, errA := pa.Initiate([]byte(a.ownData), Message{pb.Share(), []byte(a.seenData)})
			kb, errB := pb.Respond(Message{pa.Share(), []byte(b.seenData)}, []byte(b.ownData))
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
			same := name == "nothing"
			if bytes.Equal(ka.Bytes(), kb.Bytes()) != same {
				t.Errorf("keys equal: %t, want %t", !same, same)
			}
			sent := Message{pb.Share(), []byte(b.ownData)}
			if ka.Confirms(kb.Tag(sent), sent) != same {
				t.Errorf("responder confirmed: %t, want %t", !same, same)
			}
			if ka.Confirms(ka.Tag(Message{pa.Share(), []byte(a.ownData)}), sent) {
				t.Error("the initiator accepts its own tag")
			}
		})
	}
}
