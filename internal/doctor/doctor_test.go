package doctor

import (
	"bytes"
	"net"
	"strings"
	"testing"
)

func TestWritePrintsAdviceBelowFinding(t *testing.T) {
	found := []Finding{Good("a", "well, %d", 1), Bad("longer", "do this", "not well"), Note("b", "", "unknown")}
	var out bytes.Buffer
	if err := Write(&out, found); err != nil {
		t.Fatal(err)
	}
	if want := "✓ a       well, 1\n✗ longer  not well\n          → do this\n– b       unknown\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if !Failed(found) || Failed(found[:1]) || Failed(found[2:]) || Failed(nil) {
		t.Error("Failed reports something else than whether there is a wrong finding")
	}
}

func TestURIsAreParsed(t *testing.T) {
	for uri, want := range map[string]string{
		"stun:h:3478": "STUN/UDP 3478/udp", "turn:h:3478?transport=udp": "TURN/UDP 3478/udp",
		"turn:h:1?transport=tcp": "TURN/TCP 1/tcp", "turns:[2001:db8::1]:443?transport=tcp": "TURN/TLS 443/tcp",
	} {
		if p, err := parse(uri); err != nil || p.name()+" "+p.port() != want {
			t.Errorf("%s: %s %s, %v", uri, p.name(), p.port(), err)
		}
	}
	for _, uri := range []string{"", "stun", "stun:h", "http://h:1", "turn:" + strings.Repeat("x", 1<<20)} {
		if _, err := parse(uri); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.20q: %v", uri, err)
		}
	}
}

func TestSilentServerIsFound(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	found := stuns(t.Context(), []string{"stun:" + silent.LocalAddr().String()})
	if len(found) != 2 || found[0].Verdict != Wrong || !strings.Contains(found[0].Do, "/udp in the firewall") ||
		found[1].Verdict != Wrong || !strings.Contains(found[1].Do, "/tcp") {
		t.Errorf("%+v", found)
	}
	if found := stuns(t.Context(), nil); !Failed(found) {
		t.Errorf("a server without STUN: %+v", found)
	}
}
