// Package settingstest tests every setting of a configuration struct: by flag, by
// environment variable and by settings file.
package settingstest

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// Run sets each flag of a fresh struct in each of the three ways, one at a time. All
// ways must give the same value, which must differ from the default. command holds
// the words of a command whose flags are tested too.
func Run(t *testing.T, fresh func() any, options []kong.Option, command ...string) {
	t.Helper()
	flags := flagsOf(t, fresh(), options, command)
	if len(flags) == 0 {
		t.Fatal("there are no settings")
	}
	for _, flag := range flags {
		t.Run(flag.Name, func(t *testing.T) {
			if flag.Help == "" || len(flag.Envs) != 1 {
				t.Fatalf("help %q, environment %v: want both", flag.Help, flag.Envs)
			}
			value := sample(t, flag)
			parse := func(args ...string) string {
				return valueOf(t, fresh(), options, flag.Name, append(args, command...))
			}
			unset := parse()
			byFlag := parse("--" + flag.Name + "=" + value)
			file := filepath.Join(t.TempDir(), "settings.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, "%s: %s\n", flag.Name, value), 0o600); err != nil {
				t.Fatal(err)
			}
			byFile := parse("--config=" + file)
			t.Setenv(flag.Envs[0], value)
			byEnv := parse()
			if byFlag == unset || byFile != byFlag || byEnv != byFlag {
				t.Errorf("%s is %q by flag, %q by file, %q by environment, %q by default",
					value, byFlag, byFile, byEnv, unset)
			}
		})
	}
}

// flagsOf returns all flags except --help and --config.
func flagsOf(t *testing.T, target any, options []kong.Option, command []string) []*kong.Flag {
	t.Helper()
	p, err := kong.New(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	node := p.Model.Node
	flags := node.Flags
	for _, word := range command {
		for _, child := range node.Children {
			if child.Name == word {
				node = child
				flags = append(flags, node.Flags...)
			}
		}
	}
	var settings []*kong.Flag
	for _, f := range flags {
		if f.Name != "help" && f.Name != "config" {
			settings = append(settings, f)
		}
	}
	return settings
}

// valueOf parses the arguments and returns the value of a flag as text. It puts the
// flags of a command after the command.
func valueOf(t *testing.T, target any, options []kong.Option, name string, args []string) string {
	t.Helper()
	p, err := kong.New(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	var words, dashed []string
	for _, a := range args {
		if strings.HasPrefix(a, "--") && !strings.HasPrefix(a, "--config=") {
			dashed = append(dashed, a)
		} else if strings.HasPrefix(a, "--") {
			words = append([]string{a}, words...)
		} else {
			words = append(words, a)
		}
	}
	ctx, err := p.Parse(append(words, dashed...))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range ctx.Flags() {
		if f.Name == name {
			return fmt.Sprint(f.Target.Interface())
		}
	}
	t.Fatalf("no flag %s", name)
	return ""
}

// sample returns a value that differs from the default.
func sample(t *testing.T, f *kong.Flag) string {
	t.Helper()
	switch {
	case f.Enum != "":
		all := strings.Split(f.Enum, ",")
		return all[len(all)-1]
	case f.Target.Type() == reflect.TypeFor[time.Duration]():
		return "97s"
	case strings.HasSuffix(f.Target.Type().String(), "slog.Level"):
		return "ERROR"
	}
	switch f.Target.Kind() {
	case reflect.Bool:
		return "true"
	case reflect.Int, reflect.Int64:
		return "97"
	case reflect.String, reflect.Slice:
		return "sample"
	}
	t.Fatalf("a setting of type %v: add a value of this type to settingstest", f.Target.Type())
	return ""
}
