package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/doctor"
)

func TestDoctorCommand(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	stop := serving(t, data)
	args := []string{"--data", data, "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"}
	code, out, errs := run(t.Context(), append([]string{"doctor"}, args...)...)
	if code != 0 || !strings.Contains(out, "✓ TURN/TLS") || errs != "" {
		t.Errorf("the server runs: %d, %s, %s", code, out, errs)
	}
	stop()
	code, out, errs = run(t.Context(), append([]string{"doctor", "--json"}, args...)...)
	var got struct {
		OK       bool
		Findings []doctor.Finding
	}
	err := json.Unmarshal([]byte(out), &got)
	if err != nil || code != 1 || got.OK || len(got.Findings) < 5 || !strings.Contains(errs, "something is wrong") {
		t.Errorf("the server does not run: %d, %v, %s, %s", code, err, out, errs)
	}
}
