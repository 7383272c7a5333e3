package rendezvous

import (
	"os"
	"regexp"
	"testing"
	"time"
)

// TestWhatStopsAnInstanceLeavesItTheTime to send its peers away: what is killed
// before that tells nobody.
func TestWhatStopsAnInstanceLeavesItTheTime(t *testing.T) {
	for file, setting := range map[string]struct {
		line  string
		sleep time.Duration // in which it is not told yet
	}{
		"../docker-compose.yml":                                   {line: `(?ms)^x-rendezvous:.*?^  stop_grace_period: (\d+)s$`},
		"../deploy/systemd/easyfind-rendezvous.service":           {line: `(?m)^TimeoutStopSec=(\d+)$`},
		"../deploy/helm/easyfind-rendezvous/templates/_parts.tpl": {line: `(?m)^  terminationGracePeriodSeconds: (\d+)$`, sleep: 5 * time.Second},
	} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(setting.line).FindSubmatch(raw)
		if found == nil {
			t.Errorf("%s does not say how long it waits", file)
			continue
		}
		waits, err := time.ParseDuration(string(found[1]) + "s")
		if err != nil || waits < stopWait+setting.sleep {
			t.Errorf("%s waits %s, %v; want %s and %s", file, waits, err, stopWait, setting.sleep)
		}
	}
	if stopWait < drainWait+lastWait {
		t.Error("stopWait is too short")
	}
}
