package server

import (
	"os"
	"regexp"
	"testing"
	"time"
)

// TestDeploymentsWaitForStop: the deployments give an instance enough time to
// disconnect its peers before they kill it.
func TestDeploymentsWaitForStop(t *testing.T) {
	for file, setting := range map[string]struct {
		line  string
		sleep time.Duration // before the signal
	}{
		"docker-compose.yml": {
			line: `(?ms)^x-rendezvous:.*?^  stop_grace_period: (\d+)s$`,
		},
		"deploy/systemd/easyfind-rendezvous.service": {
			line: `(?m)^TimeoutStopSec=(\d+)$`,
		},
		"deploy/helm/easyfind-rendezvous/templates/_parts.tpl": {
			line: `(?m)^  terminationGracePeriodSeconds: (\d+)$`, sleep: 5 * time.Second,
		},
	} {
		raw, err := os.ReadFile("../../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(setting.line).FindSubmatch(raw)
		if found == nil {
			t.Errorf("%s does not say how long it waits", file)
			continue
		}
		waits, err := time.ParseDuration(string(found[1]) + "s")
		if err != nil || waits < stopTimeout+setting.sleep {
			t.Errorf("%s waits %s, %v; want %s and %s", file, waits, err, stopTimeout, setting.sleep)
		}
	}
	if stopTimeout < drainTimeout+requestTimeout {
		t.Error("stopTimeout is too short")
	}
}

func TestMegabitsAreConvertedToBytes(t *testing.T) {
	if r := flowRate(8, 100); r.Bytes != 1_000_000 || r.Packets != 100 {
		t.Errorf("8 Mbit/s and 100 packets are %+v", r)
	}
}
