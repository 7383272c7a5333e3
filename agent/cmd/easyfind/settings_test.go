package main

import (
	"testing"

	"github.com/alecthomas/kong"

	"github.com/easyfind-usb/easyfind/internal/settings"
	"github.com/easyfind-usb/easyfind/internal/settings/settingstest"
)

func TestSettingsFromFlagFileAndEnvironment(t *testing.T) {
	options := append(settings.Options("easyfind", "test"),
		kong.ExplicitGroups(groups), helpTexts(paths{state: "/s", socket: "/k"}))
	settingstest.Run(t, func() any { return &commands{} }, options, "up")
}
