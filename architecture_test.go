package easyfind_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/easyfind-usb/easyfind/"

// mayImport lists for each package the trees of this module that it may import. A
// package without a row fails the test, so that adding a package needs a decision. A
// package may always import its own subtree. Tests may import all of their own
// program, and the packages of testOnly.
var mayImport = map[string][]string{
	"proto/ident":  {},
	"proto/api":    {"proto/ident"},
	"proto/signal": {"proto/ident"},
	"proto/tunnel": {},
	"proto/call":   {},
	"proto/usbip":  {},

	"migrations": {},

	"rendezvous/internal/registry":          {"proto/ident", "proto/api"},
	"rendezvous/internal/registry/audit":    {"proto/ident", "rendezvous/internal/registry"},
	"rendezvous/internal/registry/blobs":    {"rendezvous/internal/registry"},
	"rendezvous/internal/registry/presence": {"proto/ident", "rendezvous/internal/registry"},
	"rendezvous/internal/registry/history": {
		"proto/ident", "rendezvous/internal/registry",
		"rendezvous/internal/registry/presence",
	},
	"rendezvous/internal/registry/mailboxes": {
		"proto/ident", "proto/api", "rendezvous/internal/registry",
		"rendezvous/internal/registry/audit",
	},
	"rendezvous/internal/registry/administration": {
		"proto/ident", "proto/api", "rendezvous/internal/registry",
		"rendezvous/internal/registry/audit",
	},
	"rendezvous/internal/registry/peers": {
		"proto/ident", "proto/api", "rendezvous/internal/registry",
		"rendezvous/internal/registry/audit", "rendezvous/internal/registry/presence",
	},
	"rendezvous/internal/database": {
		"migrations", "rendezvous/internal/registry",
		"rendezvous/internal/pgstore", "rendezvous/internal/sqlitestore",
	},
	"rendezvous/internal/services": {
		"proto/ident", "rendezvous/internal/registry",
		"rendezvous/internal/database",
	},
	"rendezvous/internal/registry/storetest": {
		"proto/ident", "rendezvous/internal/registry",
		"rendezvous/internal/database",
	},
	"rendezvous/internal/batch": {},
	"rendezvous/internal/pgstore": {
		"proto/ident", "migrations", "rendezvous/internal/registry",
		"rendezvous/internal/batch",
	},
	"rendezvous/internal/pgstore/pgtest": {},
	"rendezvous/internal/sqlitestore": {
		"proto/ident", "migrations", "rendezvous/internal/registry",
		"rendezvous/internal/batch",
	},
	"rendezvous/internal/httpapi": {
		"proto/ident", "proto/api", "rendezvous/internal/registry",
		"internal/limits",
	},
	"rendezvous/internal/web": {"proto/ident", "proto/api", "rendezvous/internal/registry"},
	"rendezvous/internal/hub": {"proto/ident", "proto/signal"},
	"rendezvous/internal/cluster": {
		"proto/ident", "proto/signal", "rendezvous/internal/registry",
		"rendezvous/internal/batch",
	},
	"rendezvous/internal/metrics":         {},
	"rendezvous/internal/backup":          {"migrations"},
	"rendezvous/internal/certs":           {"proto/ident", "rendezvous/internal/registry"},
	"rendezvous/internal/relay":           {"proto/ident", "internal/limits"},
	"rendezvous/internal/relay/policy":    {"proto/ident", "internal/limits"},
	"rendezvous/internal/relay/datagrams": {},
	"rendezvous/internal/relay/relayload": {"rendezvous/internal/relay/datagrams"},
	"rendezvous/internal/relay/relaytest": {},
	"rendezvous/internal/listener":        {"proto/signal", "internal/limits"},
	"rendezvous/internal/datadir":         {},
	"rendezvous/internal/secrets":         {"proto/ident", "rendezvous/internal/registry"},
	"rendezvous/internal/config":          {"proto/ident", "proto/api", "rendezvous/internal/certs"},
	"rendezvous/internal/accesslink": {
		"proto/ident", "rendezvous/internal/datadir",
		"rendezvous/internal/registry",
	},
	"rendezvous/internal/redirect": {},
	"rendezvous/internal/archive": {
		"migrations", "rendezvous/internal/accesslink",
		"rendezvous/internal/backup", "rendezvous/internal/certs", "rendezvous/internal/database",
		"rendezvous/internal/datadir", "rendezvous/internal/sqlitestore",
	},
	"rendezvous/internal/selfcheck": {
		"internal/doctor", "migrations", "proto/ident", "proto/api",
		"rendezvous/internal/accesslink", "rendezvous/internal/cluster", "rendezvous/internal/config",
		"rendezvous/internal/database", "rendezvous/internal/datadir", "rendezvous/internal/relay",
		"rendezvous/internal/secrets", "rendezvous/internal/sqlitestore",
	},
	"rendezvous/internal/restserver": {
		"proto", "rendezvous/internal/accesslink",
		"rendezvous/internal/cluster", "rendezvous/internal/config", "rendezvous/internal/httpapi",
		"rendezvous/internal/hub", "rendezvous/internal/listener", "rendezvous/internal/relay",
		"rendezvous/internal/services", "rendezvous/internal/web",
	},
	"rendezvous/internal/server": {"internal/limits", "proto", "rendezvous/internal"},
	"rendezvous":                 {"internal/doctor", "rendezvous/internal"},
	"rendezvous/cmd/easyfind-rendezvous": {
		"rendezvous", "internal/settings", "internal/logging",
		"internal/doctor",
	},
	"agent/internal/usb":             {},
	"agent/internal/usb/massstorage": {"agent/internal/usb"},
	"agent/internal/usb/usbtest":     {"agent/internal/usb", "agent/internal/usb/massstorage"},
	"agent/internal/usb/virtual":     {"agent/internal/usb"},
	"agent/internal/usb/uevent":      {},
	"agent/internal/usb/usbfs":       {"agent/internal/usb"},
	"agent/internal/usb/libusb":      {"agent/internal/usb"},
	"agent/internal/usbip":           {"proto/usbip", "agent/internal/usb"},
	"agent/internal/link":            {"proto/ident", "proto/tunnel"},
	"agent/internal/link/linktest":   {"proto/ident", "proto/tunnel", "agent/internal/link"},
	"agent/internal/link/quiclink": {
		"proto/ident", "proto/tunnel", "agent/internal/link",
		"agent/internal/link/congestion",
	},
	"agent/internal/link/congestion": {},
	"agent/internal/link/tcplink": {
		"proto/ident", "proto/tunnel", "agent/internal/link",
		"internal/limits",
	},
	"agent/internal/path":         {"proto/call"},
	"agent/internal/session/fifo": {},
	"agent/internal/session/transport": {
		"proto/tunnel", "agent/internal/link",
		"agent/internal/session/fifo",
	},
	"agent/internal/session": {
		"proto/ident", "proto/tunnel", "agent/internal/link",
		"agent/internal/session/fifo", "agent/internal/session/transport", "agent/internal/usb",
	},
	"agent/internal/rvclient":              {"proto/ident", "proto/api", "proto/signal"},
	"agent/internal/pairing":               {"proto/ident", "proto/api", "agent/internal/pairing/cpace"},
	"agent/internal/pairing/cpace":         {},
	"agent/internal/state":                 {"proto/ident"},
	"agent/internal/localapi":              {"proto/ident", "internal/doctor"},
	"agent/internal/localapi/localapitest": {"agent/internal/localapi", "internal/doctor"},
	"agent/internal/peer": {
		"proto/ident", "proto/call", "proto/tunnel", "agent/internal/link",
		"agent/internal/path", "agent/internal/session",
	},
	"agent/internal/peers": {
		"proto/ident", "agent/internal/link", "agent/internal/peer",
		"agent/internal/session", "agent/internal/state",
	},
	"agent/internal/network": {
		"proto/api", "proto/call", "proto/ident",
		"agent/internal/lifecycle", "agent/internal/link", "agent/internal/path", "agent/internal/peer",
		"agent/internal/rvclient",
	},
	"agent/internal/rvsync": {
		"proto/ident", "proto/signal", "agent/internal/link",
		"agent/internal/rvclient", "agent/internal/session", "agent/internal/state",
	},
	"agent/internal/lifecycle": {},
	"agent/internal/buses":     {"agent/internal/usb"},
	"agent/internal/diagnosis": {
		"proto/api", "proto/call", "agent/internal/rvclient",
		"internal/doctor",
	},
	"agent/internal/backend": {
		"proto/ident", "proto/tunnel", "agent/internal/localapi",
		"agent/internal/pairing", "agent/internal/peer", "agent/internal/peers", "agent/internal/rvclient",
		"agent/internal/session", "agent/internal/sharing", "agent/internal/state", "agent/internal/usb",
		"agent/internal/usbip", "agent/internal/using", "internal/doctor",
	},
	"agent": {"proto/ident", "agent/internal"},
	"agent/internal/stage": {
		"agent/internal/stage/guard", "agent/internal/stage/storage",
		"agent/internal/usb",
	},
	"agent/internal/stage/guard":  {"agent/internal/stage/outbox", "agent/internal/usb"},
	"agent/internal/stage/outbox": {"agent/internal/usb"},
	"agent/internal/stage/storage": {
		"agent/internal/stage/guard", "agent/internal/stage/outbox",
		"agent/internal/usb",
	},
	"agent/internal/sharing": {
		"proto/ident", "proto/tunnel", "agent/internal/session",
		"agent/internal/stage/guard", "agent/internal/state", "agent/internal/usb",
	},
	"agent/internal/using": {
		"proto/ident", "proto/tunnel", "agent/internal/session",
		"agent/internal/stage", "agent/internal/state", "agent/internal/usb", "agent/internal/usbip",
	},
	"agent/internal/demo": {
		"proto/ident", "agent/internal/localapi", "agent/internal/usb",
		"agent/internal/usbip",
	},
	"agent/cmd/easyfind-demo": {"agent/internal/demo"},
	"agent/cmd/easyfind": {
		"agent", "agent/internal/localapi", "proto/ident",
		"internal/settings", "internal/logging", "internal/doctor",
	},
	"deploy/docs":       {},
	"internal/settings": {},
	"internal/limits":   {},
	"internal/logging":  {"internal/limits"},
	"internal/doctor":   {"proto/ident", "proto/api", "proto/signal"},
	"deploy/load/swarm": {"proto"},
	"deploy/load/cmd/easyfind-load": {
		"proto/api", "deploy/load/swarm", "internal/logging",
		"internal/settings",
	},
}

// doors lists for each module of others the only packages that may import it. A module
// without a row fails the test, so that adding a dependency needs a decision.
var doors = map[string][]string{
	"github.com/prometheus/client_golang": {"rendezvous/internal/metrics"},

	"github.com/go-chi/chi/v5":           {"rendezvous/internal/httpapi"},
	"github.com/danielgtaylor/huma/v2":   {"rendezvous/internal/httpapi"},
	"github.com/caddyserver/certmagic":   {"rendezvous/internal/certs"},
	"github.com/mholt/acmez/v3":          {"rendezvous/internal/certs"},
	"go.uber.org/zap":                    {"rendezvous/internal/certs"},
	"golang.org/x/time":                  {"internal/limits", "rendezvous/internal/hub", "agent/internal/link"},
	"github.com/hashicorp/golang-lru/v2": {"internal/limits"},
	"golang.org/x/term":                  {"agent/cmd"},
	"github.com/pires/go-proxyproto":     {"rendezvous/internal/listener"},
	"github.com/coder/websocket":         {"rendezvous/internal/hub", "agent/internal/rvclient"},
	"github.com/jackc/pgx/v5":            {"rendezvous/internal/pgstore"},
	"modernc.org/sqlite":                 {"rendezvous/internal/sqlitestore"},
	"github.com/pressly/goose/v3":        {"migrations"},
	"github.com/pion/turn/v2":            {"rendezvous/internal/relay", "internal/doctor"},
	"github.com/pion/logging":            {"internal/doctor", "rendezvous/internal/relay", "agent/internal/path"},
	"github.com/pion/stun":               {"agent/internal/path", "rendezvous/internal/relay"},
	"github.com/pion/transport/v2":       {"agent/internal/path"},
	"github.com/pion/ice/v2":             {"agent/internal/path"},
	"github.com/quic-go/quic-go":         {"agent/internal/link/quiclink"},
	"github.com/apernet/quic-go":         {"agent/internal/link/quiclink"},
	"github.com/google/gousb":            {"agent/internal/usb/libusb"},
	"github.com/gtank/ristretto255":      {"agent/internal/pairing/cpace"},
	"github.com/chromedp":                {"rendezvous/internal/web/webtest"},
	"github.com/alecthomas/kong": {
		"internal/settings", "agent/cmd/easyfind",
		"rendezvous/cmd/easyfind-rendezvous", "deploy/load/cmd/easyfind-load",
	},
	"gopkg.in/yaml.v3":             {"internal/settings"},
	"github.com/lmittmann/tint":    {"internal/logging"},
	"github.com/mattn/go-isatty":   {"rendezvous/cmd/easyfind-rendezvous"},
	"rsc.io/qr":                    {"rendezvous/internal/web"},
	"github.com/mdp/qrterminal/v3": {"agent/cmd/easyfind"},
	"golang.org/x/sys": {
		"agent/internal/usbip", "agent/internal/usb/uevent",
		"agent/internal/usb/usbfs", "agent/internal/link/tcplink", "agent/internal/state",
		"rendezvous/internal/sqlitestore", "rendezvous/internal/relay", "deploy/e2e",
	},
}

// inTests lists modules that tests of any package may import.
var inTests = []string{"go.uber.org/goleak", "github.com/google/go-cmp/cmp", "pgregory.net/rapid"}

// testOnly lists packages of this module that exist for tests. Only tests and packages
// in this list may import them.
var testOnly = []string{
	"internal/waittest", "internal/logging/logtest", "rendezvous/internal/web/webtest",
	"internal/settings/settingstest", "rendezvous/internal/registry/storetest", "rendezvous/internal/pgstore/pgtest",
	"rendezvous/internal/certs/pebbletest", "rendezvous/internal/relay/relaytest", "agent/internal/link/linktest",
	"agent/internal/usb/usbtest", "agent/internal/stage/stagetest", "agent/internal/localapi/localapitest",
	"rendezvous/processtest", "rendezvous/bench", "rendezvous/fleet", "deploy/e2e",
}

// acrossInTests lists packages whose tests run a client of one program against the
// other program. It is the only way in which the two trees may depend on each other.
var acrossInTests = map[string]string{"agent/internal/rvclient": "rendezvous", "agent": "rendezvous"}

// shown lists packages whose exported API may contain types of a module of others.
// Their users must be doors to that module too.
var shown = map[string]string{"internal/settings": "github.com/alecthomas/kong"}

// environment lists the trees that may read the environment and the flags of the
// process and end it.
var environment = []string{
	"agent/cmd", "rendezvous/cmd", "deploy/load/cmd", "internal/settings", "deploy/e2e",
	"rendezvous/internal/certs/pebbletest",
}

// TestArchitecture parses every file itself instead of running go list, so that the
// test cache knows every file that the result depends on.
func TestArchitecture(t *testing.T) {
	documented := map[string]bool{}
	walk(t, func(name string, f *ast.File) {
		dir, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
		documented[dir] = documented[dir] || f.Doc != nil
		allowed, known := mayImport[dir]
		if !known && !covers(testOnly, dir) {
			t.Errorf("%s: no row in mayImport", dir)
		}
		for _, spec := range f.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			host, _, _ := strings.Cut(imp, "/")
			to, ours := strings.CutPrefix(imp, module)
			switch {
			case ours && !test && !covers(testOnly, dir) && covers(testOnly, to):
				t.Errorf("%s: imports %s, which only tests may import", name, to)
			case ours && !test && !covers(testOnly, dir) && !covers(append(allowed, dir), to):
				t.Errorf("%s: must not import %s", name, to)
			case ours && crosses(dir, to) && !covers(testOnly, dir) && !(test && acrossInTests[dir] == to):
				t.Errorf("%s: the agent and the rendezvous never import each other (%s)", name, to)
			case !ours && strings.Contains(host, ".") && !test && !covers(doors[moduleOf(imp, doors)], dir):
				t.Errorf("%s: may not import %s: it is not in doors", name, imp)
			case !ours && strings.Contains(host, ".") && test && moduleOf(imp, doors) == "" &&
				!slices.Contains(inTests, imp):
				t.Errorf("%s: tests do not use %s", name, imp)
			}
		}
	})
	for dir, ok := range documented {
		if !ok && dir != "." {
			t.Errorf("%s: has no package comment", dir)
		}
	}
}

// TestHabits finds calls in places where they are not allowed.
func TestHabits(t *testing.T) {
	walk(t, func(name string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			test := strings.HasSuffix(name, "_test.go")
			if id, ok := n.(*ast.Ident); ok && id.Name == "InsecureSkipVerify" && name != "proto/ident/tls.go" &&
				!test {
				t.Errorf("%s: only proto/ident/tls.go may turn certificate checks off", name)
			}
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, _ := sel.X.(*ast.Ident)
			if pkg == nil {
				return true
			}
			switch call := pkg.Name + "." + sel.Sel.Name; call {
			case "time.Sleep":
				if test && !imports(f, "testing/synctest") { // where time is virtual
					t.Errorf("%s: sleeps in a test; wait for the event, or use testing/synctest", name)
				}
			case "os.Getenv", "os.LookupEnv", "os.Exit", "os.Args", "flag.Parse":
				if !test && !covers(environment, path.Dir(name)) {
					t.Errorf("%s: %s belongs under cmd/", name, call)
				}
			}
			return true
		})
	})
}

// imports reports whether a file imports a package.
func imports(f *ast.File, pkg string) bool {
	return slices.ContainsFunc(f.Imports, func(spec *ast.ImportSpec) bool {
		return strings.Trim(spec.Path.Value,
			`"`) == pkg
	})
}

// TestBorders finds types of other modules in the exported API of a package. A user of
// a package need not know which modules implement it.
func TestBorders(t *testing.T) {
	walk(t, func(name string, f *ast.File) {
		if strings.HasSuffix(name, "_test.go") || covers(testOnly, path.Dir(name)) {
			return
		}
		vendors := map[string]bool{} // by their names in this file
		for _, spec := range f.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if row := moduleOf(imp, doors); row != "" && row != shown[path.Dir(name)] {
				vendors[nameOf(spec, imp)] = true
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				return n.Name.IsExported() && (n.Recv == nil || ofExported(n.Recv.List[0].Type))
			case *ast.TypeSpec:
				return n.Name.IsExported()
			case *ast.ValueSpec:
				n.Values = nil
				return slices.ContainsFunc(n.Names, (*ast.Ident).IsExported)
			case *ast.StructType:
				n.Fields.List = slices.DeleteFunc(n.Fields.List, func(f *ast.Field) bool {
					return len(f.Names) > 0 && !slices.ContainsFunc(f.Names, (*ast.Ident).IsExported)
				})
			case *ast.BlockStmt:
				return false // bodies are not part of the API
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && vendors[pkg.Name] {
					t.Errorf("%s: the exported API contains %s.%s of another module", name, pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
	})
}

// walk parses every Go file in the subdirectories.
func walk(t *testing.T, visit func(name string, f *ast.File)) {
	t.Helper()
	walkIn(t, token.NewFileSet(), visit)
}

// walkIn does the same as walk and records the positions in files.
func walkIn(t *testing.T, files *token.FileSet, visit func(name string, f *ast.File)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" ||
			d.Name() == "testdata") {
			return fs.SkipDir
		}
		if _, err := os.Stat(path.Join(name, "go.mod")); err == nil && name != "." {
			return fs.SkipDir // another module, of which the programs contain nothing
		}
		if path.Dir(name) == "." || path.Ext(name) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err == nil {
			visit(name, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// crosses reports whether an import leads from one program's tree to the other's.
func crosses(from, to string) bool {
	return covers([]string{"agent"}, from) && covers([]string{"rendezvous"}, to) ||
		covers([]string{"rendezvous"}, from) && covers([]string{"agent"}, to) ||
		covers([]string{"proto"}, from) && covers([]string{"agent", "rendezvous"}, to)
}

// covers reports whether dir is one of trees or lies below one.
func covers(trees []string, dir string) bool {
	for _, tree := range trees {
		if dir == tree || strings.HasPrefix(dir, tree+"/") {
			return true
		}
	}
	return false
}

// moduleOf returns the key of rows that imp belongs to, or "".
func moduleOf(imp string, rows map[string][]string) string {
	for ; imp != "."; imp = path.Dir(imp) {
		if _, ok := rows[imp]; ok {
			return imp
		}
	}
	return ""
}

// nameOf returns the name of an imported package in a file.
func nameOf(spec *ast.ImportSpec, imp string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	base := path.Base(imp)
	if strings.Trim(base, "v0123456789") == "" {
		base = path.Base(path.Dir(imp))
	}
	base, _, _ = strings.Cut(base, ".v") // as in yaml.v3
	return strings.TrimSuffix(strings.TrimPrefix(base, "go-"), "-go")
}

// ofExported reports whether the type of a receiver is exported.
func ofExported(receiver ast.Expr) bool {
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	name, ok := receiver.(*ast.Ident)
	return !ok || name.IsExported()
}
