package easyfind_test

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// turn is a way of writing that a reader stumbles over, and what to write instead.
type turn struct {
	pattern *regexp.Regexp
	instead string
}

func banned(pattern, instead string) turn { return turn{regexp.MustCompile(pattern), instead} }

// turns are looked for in comments, messages and documents.
var turns = []turn{
	banned(`(?i)\blet(s|ting)? go of\b`, "close, release, drop, free"),
	banned(`(?i)\banew\b`, "again, or name what happens"),
	banned(`(?i)\b(is|are|was|were) no more\b`, "no longer exists, has ended"),
	banned(`(?i)\b(is|are) none\b[ .,;:)]`, "is not"),
	banned(`(?i)\bat the latest\b`, "within, at most"),
	banned(`(?i)\bha(s|ve|d) to do with\b`, "name the relation"),
	banned(`(?i)\bso (many|often)\b`, "name the bound"),
	banned(`(?i)\bwhom\b`, "name the actor"),
	banned(`\b(for|to|by|of|from|with|at) who\b`, "name the actor"),
	banned(`\bother end's($|[.,;:)])`, "name the thing that the other end has"),
	banned(`(?i)\b(caller holds|mu is held|lock is held)\b`, `"mu must be held"`),
	banned(`(?i)\b(is|are|was|were|be) told\b`, "is called with, receives, learns"),
	banned(`(?i)\bfar (disk|device|end|side|machine|host|peer)s?\b`, "remote"),
	banned(`(?i)\bbeside\b`, "next to, in addition to"),
	banned(`(?i)\b(gives?|gave|given|giving) out\b`, "returns, issues, hands to"),
	banned(`(?i)\b(sends?|sent|sending) away\b`, "disconnect, refuse, revoke"),
	banned(`(?i)\ball in all\b`, "in total"),
	banned(`(?i)\b(patience|sloth)\b`, "timeout"),
}

// headless matches sentences whose subject is a pronoun without a noun.
var headless = regexp.MustCompile(`(^|[.:;] )(Who|Whoever|What|Whatever) [^.;:?]*([.;:]|$)`)

// vague doc comments define a thing by a question instead of a noun.
var vague = regexp.MustCompile(`^\w+ (is|are|says|tells|reports) (what|how|who|where|why|when)\b`)

// TestProse finds the worst turns in comments and in what the programs print.
func TestProse(t *testing.T) {
	files := token.NewFileSet()
	walkIn(t, files, func(name string, f *ast.File) {
		at := func(p token.Pos) string { return name + ":" + strconv.Itoa(files.Position(p).Line) }
		for _, group := range f.Comments {
			text := strings.Join(strings.Fields(group.Text()), " ")
			checkTurns(t, at(group.Pos()), text)
			if headless.MatchString(text) {
				t.Errorf("%s: %q: name the actor", at(group.Pos()), headless.FindString(text))
			}
			if vague.MatchString(text) {
				t.Errorf("%s: %q: say what it returns or does", at(group.Pos()), vague.FindString(text))
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING && strings.Contains(text.Value, " ") {
				if name != "prose_test.go" {
					checkTurns(t, at(text.Pos()), text.Value)
				}
			}
			return true
		})
	})
	for _, name := range tracked(t) {
		if !slices.Contains(documents, path.Ext(name)) && !slices.Contains(documents, path.Base(name)) ||
			strings.Contains(name, "/testdata/") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			checkTurns(t, name+":"+strconv.Itoa(n+1), line)
		}
	}
}

// documents are the kinds of file that people read besides Go.
var documents = []string{
	".md", ".sql", ".yaml", ".yml", ".sh", ".html", ".tmpl", ".js", ".css", ".service", ".conf",
	".cfg", ".tpl", "Dockerfile", "Makefile", "run",
}

func checkTurns(t *testing.T, where, text string) {
	t.Helper()
	for _, turn := range turns {
		if found := turn.pattern.FindString(text); found != "" {
			t.Errorf("%s: %q: write: %s", where, found, turn.instead)
		}
	}
}

// logKeys are the attribute keys of log records: one key for one thing.
var logKeys = map[string]string{
	"addr":        "a network address of this machine or of a client",
	"count":       "of what the message names",
	"device":      "the id of a USB device on its host",
	"dir":         "a directory",
	"duration":    "how long something took or lasted",
	"epoch":       "of an instance's lease",
	"err":         "an error",
	"expires":     "a moment",
	"host":        "a DNS name",
	"instance":    "the name of a rendezvous instance",
	"issuer":      "of a certificate",
	"link":        "the kind of path that a link to a peer uses, in words",
	"lock":        "the name of a lock",
	"mapping":     "of a NAT (RFC 4787)",
	"method":      "of an HTTP request",
	"name":        "what a person calls a thing",
	"offset":      "of the database's clock from the machine's",
	"panic":       "the value of a panic",
	"part":        "the part of the program that logs",
	"peer":        "the short PeerID of a peer",
	"peers":       "a number of peers",
	"port":        "of the virtual host controller",
	"proxy_addr":  "the address of the load balancer that a connection came through",
	"public_addr": "the address that others see",
	"reason":      "a text of another program or of a person",
	"relay_addr":  "an address of the relay",
	"remote_addr": "the network address of the other side",
	"retry_in":    "the time until the next attempt",
	"server":      "a STUN or TURN server, or a rendezvous",
	"shares":      "a number of shared devices",
	"skipped":     "the number of records that were left out before this one",
	"state":       "of a connection or a part",
	"stun_addr":   "the address for STUN",
	"timeout":     "a bound of time that was or will be kept",
	"transport":   "udp, tcp, tls, quic, websocket",
	"udp_blocked": "whether UDP reaches no server",
	"uses":        "a number of used devices",
}

// TestLogRecords holds log records to constant messages and known keys.
func TestLogRecords(t *testing.T) {
	files := token.NewFileSet()
	used := map[string]bool{}
	walkIn(t, files, func(name string, f *ast.File) {
		if strings.HasSuffix(name, "_test.go") || covers(testOnly, path.Dir(name)) {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !isLogger(sel.X) {
				return true
			}
			args := call.Args
			switch sel.Sel.Name {
			case "Debug", "Info", "Warn", "Error":
				if len(args) == 0 {
					return true
				}
				if text, ok := args[0].(*ast.BasicLit); !ok {
					t.Errorf("%s:%d: the message of a log record is not constant", name,
						files.Position(call.Pos()).Line)
				} else if strings.HasSuffix(strings.Trim(text.Value, "`\""), ".") {
					t.Errorf("%s:%d: the message of a log record ends with a full stop", name,
						files.Position(call.Pos()).Line)
				}
				args = args[1:]
			case "With":
			default:
				return true
			}
			for i := 0; i < len(args); i += 2 {
				key, ok := args[i].(*ast.BasicLit)
				if !ok {
					if call.Ellipsis == token.NoPos {
						t.Errorf("%s:%d: the key of an attribute is not constant", name,
							files.Position(call.Pos()).Line)
					}
					continue
				}
				k, _ := strconv.Unquote(key.Value)
				used[k] = true
				if logKeys[k] == "" {
					t.Errorf("%s:%d: key %q is not in logKeys: use one that is, or add it", name,
						files.Position(call.Pos()).Line, k)
				}
			}
			return true
		})
	})
	for k := range logKeys {
		if !used[k] {
			t.Errorf("logKeys: nothing uses %q", k)
		}
	}
}

// isLogger reports whether an expression is a logger, by its name.
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return slices.Contains([]string{"log", "logger", "slog"}, e.Name)
	case *ast.SelectorExpr:
		return slices.Contains([]string{"log", "Logger", "logger"}, e.Sel.Name)
	case *ast.CallExpr:
		sel, ok := e.Fun.(*ast.SelectorExpr)
		return ok && sel.Sel.Name == "With" && isLogger(sel.X)
	}
	return false
}
