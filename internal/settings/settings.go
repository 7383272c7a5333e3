// Package settings reads the configuration struct of a program from its flags,
// from EASYFIND_* environment variables and from a YAML file, in this order of
// precedence. The kong tags of the struct define flag, variable, file key and help
// of each setting. The file key is the name of the flag. An unknown key is an
// error.
package settings

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// envPrefix begins the name of every environment variable: --tls-listen is
// EASYFIND_TLS_LISTEN.
const envPrefix = "EASYFIND"

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Options returns the kong options that both programs share. A struct reads the
// file if it has this field:
//
//	Config kong.ConfigFlag `help:"Read settings from this YAML file." type:"existingfile"`
func Options(name, description string) []kong.Option {
	return []kong.Option{
		kong.Name(name),
		kong.Description(description),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.DefaultEnvars(envPrefix),
		kong.Configuration(load),
	}
}

// file is a parsed configuration file, from which kong reads values.
type file map[string]any

// load parses a YAML file that kong has opened.
func load(r io.Reader) (kong.Resolver, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	if len(raw) > maxFile {
		return nil, fmt.Errorf("settings file: larger than %d bytes; is it the right file?", maxFile)
	}
	values := file{}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("settings file: not valid YAML: %w", err)
	}
	return values, nil
}

// Validate returns an error for keys that no flag has, with similar names.
func (f file) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, flag := range n.Flags {
			known[flag.Name] = true
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(app.Node)
	delete(known, "help")
	delete(known, "config")
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(f)) {
		if !known[key] {
			errs = append(errs, fmt.Errorf("settings file: unknown key %q%s", key, suggestion(key, known)))
		}
	}
	return errors.Join(errs...)
}

// Resolve returns a flag's value from the file, or nil if the environment has one:
// kong itself would prefer the file.
func (f file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := f[flag.Name]
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			ok = false
		}
	}
	if !ok {
		return nil, nil
	}
	if list, isList := value.([]any); isList {
		words := make([]string, len(list))
		for i, v := range list {
			words[i] = fmt.Sprint(v)
		}
		return strings.Join(words, ","), nil
	}
	return fmt.Sprint(value), nil
}

// suggestion returns a known key that differs from key only in dashes or has the
// same beginning. If there is no such key, it refers to the help.
func suggestion(key string, known map[string]bool) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s)) }
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if plain(k) == plain(key) || len(key) > 3 && strings.HasPrefix(plain(k), plain(key)[:3]) {
			return fmt.Sprintf("; did you mean %q?", k)
		}
	}
	return "; run with --help for the keys, which are the flags' names"
}
