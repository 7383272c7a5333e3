package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/doctor"
)

func TestDoctor(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	stop := serving(t, data)
	code, out, errs := run(t.Context(), "doctor", "--data", data, "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0")
	if code != 0 || !strings.Contains(out, "✓ TURN/TLS") || errs != "" {
		t.Errorf("of a server that runs: %d, %s, %s", code, out, errs)
	}
	stop()
	code, out, errs = run(t.Context(), "doctor", "--json", "--data", data, "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0")
	var got struct {
		OK       bool
		Findings []doctor.Finding
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || got.OK || len(got.Findings) < 5 || !strings.Contains(errs, "something is wrong") {
		t.Errorf("of one that does not: %d, %v, %s, %s", code, err, out, errs)
	}
}
