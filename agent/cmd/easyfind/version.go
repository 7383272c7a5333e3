package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version string

type versionCommand struct {
	JSON bool `name:"json" help:"Write JSON."`
}

// Run shows the version.
func (c *versionCommand) Run(p *program) error {
	p.json = c.JSON
	v := map[string]string{
		"version": versionString(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
	}
	return p.result(v, func() { p.printf("easyfind %s (%s, %s)", v["version"], v["go"], v["platform"]) })
}

// versionString returns the version of the build, or else the commit that Go recorded.
func versionString() string {
	info, ok := debug.ReadBuildInfo()
	if version != "" || !ok {
		return version
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return fmt.Sprintf("%s (%s%s)", info.Main.Version, revision, modified)
}
