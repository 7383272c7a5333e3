package main

import (
	"testing"

	"github.com/easyfind-usb/easyfind/internal/settings"
	"github.com/easyfind-usb/easyfind/internal/settings/settingstest"
)

func TestEverySettingWorksInAllThreeWays(t *testing.T) {
	settingstest.Run(t, func() any { return &command{} }, settings.Options("easyfind-load", "test"))
}
