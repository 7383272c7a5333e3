// Package docs holds the guides to what they say.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	named    = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	declared = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	linked   = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	pictured = regexp.MustCompile(`<img src="([^"]+)"`)
	packed   = regexp.MustCompile(`\{src: ([^,]+),\s+dst: ([^,]+),`)
)

const top = "../.."

// TestSecurityNamesTestsThatExist finds each test that security.md names.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	exist := map[string]bool{}
	walk(t, "_test.go", func(_ string, text string) {
		for _, m := range declared.FindAllStringSubmatch(text, -1) {
			exist[m[1]] = true
		}
	})
	text, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	names := named.FindAllStringSubmatch(string(text), -1)
	if len(names) < 50 {
		t.Errorf("security.md names %d tests only", len(names))
	}
	for _, m := range names {
		if !exist[m[1]] {
			t.Errorf("security.md names %s, which does not exist", m[1])
		}
	}
}

// TestLinksLeadSomewhere follows every relative link of the README and the
// guides.
func TestLinksLeadSomewhere(t *testing.T) {
	walk(t, ".md", func(name, text string) {
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, m[1])
			}
		}
	})
}

// TestLinksLeadSomewhereInThePackage follows those of the guide from where the
// rendezvous's package puts it.
func TestLinksLeadSomewhereInThePackage(t *testing.T) {
	contents, err := os.ReadFile(filepath.Join(top, "deploy/packages/rendezvous.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const guide = "host-your-own.md"
	there, at := map[string]bool{}, ""
	for _, m := range packed.FindAllStringSubmatch(string(contents), -1) {
		files, err := filepath.Glob(filepath.Join(top, m[1]))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			to := m[2]
			if strings.HasSuffix(to, "/") {
				to += filepath.Base(f)
			}
			there[to] = true
			if filepath.Base(f) == guide {
				at = to
			}
		}
	}
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	links := append(linked.FindAllStringSubmatch(string(text), -1), pictured.FindAllStringSubmatch(string(text), -1)...)
	if at == "" || len(links) < 5 {
		t.Fatalf("the guide is at %q and has %d links", at, len(links))
	}
	for _, m := range links {
		if to := filepath.Join(filepath.Dir(at), m[1]); !there[to] {
			t.Errorf("%s links to %s, and the package has no %s", at, m[1], to)
		}
	}
	unit, err := os.ReadFile(filepath.Join(top, "deploy/systemd/easyfind-rendezvous.service"))
	if err != nil || !strings.Contains(string(unit), "Documentation=file://"+at+"\n") {
		t.Errorf("the unit does not name the guide at %s: %v", at, err)
	}
}

func walk(t *testing.T, suffix string, visit func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, suffix):
			return nil
		}
		text, err := os.ReadFile(name)
		if err == nil {
			visit(name, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
