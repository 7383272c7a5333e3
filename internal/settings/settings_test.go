package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/easyfind-usb/easyfind/internal/settings"
)

type config struct {
	Config    kong.ConfigFlag `help:"file" type:"existingfile"`
	TLSListen string          `name:"tls-listen" default:":7574" help:"x"`
	With      []string        `help:"y"`
	Open      bool            `help:"z"`
}

func parse(t *testing.T, yaml string, args ...string) (config, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "easyfind.yaml")
	if err := os.WriteFile(name, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	var c config
	p, err := kong.New(&c, append(settings.Options("easyfind", "test"), kong.Exit(func(int) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(append([]string{"--config", name}, args...))
	return c, err
}

func TestFileThenEnvironmentThenFlag(t *testing.T) {
	const yaml = "tls-listen: 127.0.0.1:1\nwith: [a, b]\nopen: true\n"
	c, err := parse(t, yaml)
	if err != nil || c.TLSListen != "127.0.0.1:1" || strings.Join(c.With, "+") != "a+b" || !c.Open {
		t.Errorf("file: %+v, %v", c, err)
	}
	t.Setenv("EASYFIND_TLS_LISTEN", "127.0.0.1:2")
	if c, err = parse(t, yaml); err != nil || c.TLSListen != "127.0.0.1:2" {
		t.Errorf("environment over file: %+v, %v", c, err)
	}
	if c, err = parse(t, yaml, "--tls-listen", "127.0.0.1:3"); err != nil || c.TLSListen != "127.0.0.1:3" {
		t.Errorf("flag over environment: %+v, %v", c, err)
	}
}

func TestBrokenFilesAreRefused(t *testing.T) {
	for yaml, want := range map[string]string{
		"tls_listen: :1":                 `unknown key "tls_listen"; did you mean "tls-listen"?`,
		"colour: red":                    `unknown key "colour"`,
		"a: b: c":                        "not valid YAML",
		"- list":                         "not valid YAML",
		"open: perhaps":                  "open",
		strings.Repeat("# x\n", 300_000): "larger than",
	} {
		_, err := parse(t, yaml)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q in it", yaml, err, want)
		}
	}
}
