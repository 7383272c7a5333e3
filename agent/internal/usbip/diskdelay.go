package usbip

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// DiskDelay returns how long this kernel waits until it sends the first command to a new
// USB disk, so that the disk can settle (the parameter delay_use of
// drivers/usb/storage/usb.c). It returns 0 on a machine whose kernel does not wait or has
// not loaded the driver.
func DiskDelay() time.Duration { return diskDelay("/sys") }

func diskDelay(sys string) time.Duration {
	text, err := os.ReadFile(filepath.Join(sys, "module/usb_storage/parameters/delay_use"))
	if err != nil {
		return 0
	}
	return parseDelay(string(text))
}

// parseDelay parses seconds ("1") or milliseconds ("1500ms"), which newer kernels show if
// they are no whole seconds (format_delay_ms).
func parseDelay(text string) time.Duration {
	number, isMilliseconds := strings.CutSuffix(strings.TrimSpace(text), "ms")
	n, err := strconv.ParseUint(number, 10, 32)
	switch {
	case err != nil:
		return 0
	case isMilliseconds:
		return time.Duration(n) * time.Millisecond
	}
	return time.Duration(n) * time.Second
}
