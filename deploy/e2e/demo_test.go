package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest"
)

// TestDemoInAKernel runs the demo in a guest, where the kernel attaches the remote disk.
// Most machines that run the tests cannot do that.
func TestDemoInAKernel(t *testing.T) {
	t.Parallel()
	p := built(t)
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	demo := filepath.Join(t.TempDir(), "easyfind-demo")
	if err := guest.GoBuild(ctx, demo, module+"agent/cmd/easyfind-demo", "CGO_ENABLED=0"); err != nil {
		t.Fatal(err)
	}
	m := boot(t, guest.Config{
		Name: "demo", Image: p.image, Dir: t.TempDir(), Modules: []string{"vhci_hcd", "usb_storage", "sd_mod"},
		Files: map[string]string{
			"/usr/bin/easyfind": p.agent, "/usr/bin/easyfind-rendezvous": p.rendezvous,
			"/usr/bin/easyfind-demo": demo,
		},
	})[0]
	out := m.must(t, 15*time.Minute, "easyfind-demo --json --limit=14m && ! ls -d /tmp/easyfind-* >/dev/null 2>&1")
	var found struct {
		OK       bool `json:"ok"`
		InKernel bool `json:"in_kernel"`
		Disk     struct {
			Where  string `json:"where"`
			SHA256 string `json:"sha256"`
			Source string `json:"source_sha256"`
		} `json:"disk"`
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if !found.OK || !found.InKernel || !strings.HasPrefix(found.Disk.Where, "/dev/sd") ||
		found.Disk.SHA256 != found.Disk.Source ||
		found.Disk.SHA256 == "" {
		t.Errorf("findings: %s", out)
	}
}
