package usbip

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestDiskDelayOfTheKernel(t *testing.T) {
	sys := t.TempDir()
	if d := diskDelay(sys); d != 0 {
		t.Errorf("without the driver: %v", d)
	}
	dir := filepath.Join(sys, "module/usb_storage/parameters")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]time.Duration{
		"1\n": time.Second, "0\n": 0, "2\n": 2 * time.Second, "1500ms\n": 1500 * time.Millisecond,
		"": 0, "ms": 0, "99999999999": 0, "-1": 0,
	} {
		if err := os.WriteFile(filepath.Join(dir, "delay_use"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if d := diskDelay(sys); d != want {
			t.Errorf("%q: %v, want %v", text, d, want)
		}
	}
}
