package main

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

func TestStagesAreDescribedByTheirUnits(t *testing.T) {
	for want, s := range map[string]localapi.Stage{
		"off, turned off for this use": {Name: "interrupt", Unit: "reports", Off: "turned off for this use"},
		"on, 9 of 10 reports answered without a round trip, 72 B read ahead, 8 B of that not used": {
			Name: "interrupt", Unit: "reports", Commands: 10, Hits: 9, Ahead: 72, Discarded: 8,
		},
	} {
		if got := describeStage(s); got != want {
			t.Errorf("%+v is described as %q", s, got)
		}
	}
}
