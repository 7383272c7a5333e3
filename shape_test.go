package easyfind_test

import (
	"bufio"
	"fmt"
	"go/ast"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Bounds on the size of things. They are alarms: a type or a line beyond them
// holds a second concern.
const (
	maxMethods   = 25  // of a type
	maxInterface = 6   // methods of an interface that our own code declares, embedded ones included
	maxLine      = 120 // characters; a tab counts as four
)

// TestTypesAreSmall bounds the methods of each type and of each interface.
func TestTypesAreSmall(t *testing.T) {
	methods := map[string]int{}                     // by "directory.Type"
	interfaces := map[string][]*ast.InterfaceType{} // likewise
	walk(t, func(name string, f *ast.File) {
		dir := path.Dir(name)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv != nil {
					methods[dir+"."+receiverName(n.Recv.List[0].Type)]++
				}
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok {
					key := dir + "." + n.Name.Name
					interfaces[key] = append(interfaces[key], i)
				}
			}
			return true
		})
	})
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		if methods[name] > maxMethods {
			t.Errorf("%s has %d methods, more than %d: split it", name, methods[name], maxMethods)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(interfaces)) {
		if n := interfaceSize(interfaces, name, 0); n > maxInterface {
			t.Errorf("%s has %d methods, more than %d: split it", name, n, maxInterface)
		}
	}
}

// interfaceSize counts the methods of an interface and of those of the same
// package that it embeds. depth ends a cycle, which the compiler refuses anyway.
func interfaceSize(all map[string][]*ast.InterfaceType, name string, depth int) int {
	dir := name[:strings.LastIndexByte(name, '.')]
	largest := 0
	for _, i := range all[name] {
		n := 0
		for _, m := range i.Methods.List {
			embedded, ok := m.Type.(*ast.Ident)
			if ok && len(m.Names) == 0 && depth < 10 && all[dir+"."+embedded.Name] != nil {
				n += interfaceSize(all, dir+"."+embedded.Name, depth+1)
				continue
			}
			n += max(1, len(m.Names))
		}
		largest = max(largest, n)
	}
	return largest
}

// receiverName returns the name of the type that a method belongs to.
func receiverName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiverName(e.X)
	case *ast.IndexExpr:
		return receiverName(e.X)
	case *ast.IndexListExpr:
		return receiverName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// TestLinesAreShort bounds the lines of every text file that git tracks.
func TestLinesAreShort(t *testing.T) {
	for _, name := range tracked(t) {
		if slices.Contains(unbounded, path.Base(name)) || slices.Contains(unboundedKinds, path.Ext(name)) ||
			strings.Contains(name, "/testdata/") {
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			if path.Ext(name) == ".md" && strings.HasPrefix(lines.Text(), "|") {
				continue // Markdown has no way to wrap the row of a table
			}
			if length := utf8.RuneCountInString(strings.ReplaceAll(lines.Text(), "\t", "    ")); length > maxLine {
				t.Errorf("%s:%d: %d characters, more than %d", name, n, length, maxLine)
			}
		}
		if err := lines.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		file.Close()
	}
}

var (
	// unbounded files have a form that is not ours.
	unbounded = []string{"go.sum", "go.mod", "LICENSE"}
	// unboundedKinds hold what a program writes, or pictures.
	unboundedKinds = []string{".json", ".svg", ".png", ".pcap", ".bin"}
)

// tracked lists the files of the repository.
func tracked(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "ls-files").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(string(out)), "\n"), func(name string) bool {
		info, err := os.Lstat(name)
		return err != nil || !info.Mode().IsRegular()
	})
}

// TestRowsAreUsed fails on a row of the architecture that nothing needs any more.
func TestRowsAreUsed(t *testing.T) {
	imports := map[string]map[string]bool{} // by directory, tests not counted: what it imports
	anywhere := map[string]bool{}           // what any file imports, tests too
	exists, reads := map[string]bool{}, map[string]bool{}
	walk(t, func(name string, f *ast.File) {
		dir := path.Dir(name)
		exists[dir] = true
		for _, spec := range f.Imports {
			imp := strings.Trim(spec.Path.Value, `"`)
			anywhere[imp] = true
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			if imports[dir] == nil {
				imports[dir] = map[string]bool{}
			}
			imports[dir][imp] = true
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && slices.Contains(environmentCalls, pkg.Name+"."+sel.Sel.Name) {
					reads[dir] = true
				}
			}
			return true
		})
	})
	imported := func(dir, module string) bool {
		for from, all := range imports {
			for imp := range all {
				if covers([]string{dir}, from) && covers([]string{module}, imp) {
					return true
				}
			}
		}
		return false
	}
	for dir, trees := range mayImport {
		if !exists[dir] {
			t.Errorf("mayImport: there is no package %s", dir)
		}
		for _, tree := range trees {
			if !imported(dir, module+tree) {
				t.Errorf("mayImport: %s does not import %s", dir, tree)
			}
		}
	}
	for library, dirs := range doors {
		for _, dir := range dirs {
			if !imported(dir, library) && !covers(testOnly, dir) {
				t.Errorf("doors: %s does not import %s", dir, library)
			}
		}
	}
	for _, library := range inTests {
		if !anywhere[library] {
			t.Errorf("inTests: no test imports %s", library)
		}
	}
	for _, dir := range slices.Concat(testOnly, slices.Collect(maps.Keys(acrossInTests)),
		slices.Collect(maps.Keys(shown))) {
		if !exists[dir] {
			t.Errorf("there is no package %s, but a row names it", dir)
		}
	}
	for _, tree := range environment {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(reads)),
			func(dir string) bool { return covers([]string{tree}, dir) }) {
			t.Errorf("environment: nothing in %s reads the environment", tree)
		}
	}
}

var environmentCalls = []string{"os.Getenv", "os.LookupEnv", "os.Exit", "os.Args", "flag.Parse", "os.Environ"}

// TestTestsDoNotSleep finds sleeps by any name. Where time is virtual
// (testing/synctest) a sleep costs nothing and hides nothing.
func TestTestsDoNotSleep(t *testing.T) {
	walk(t, func(name string, f *ast.File) {
		if !strings.HasSuffix(name, "_test.go") && (!covers(testOnly, path.Dir(name)) || f.Name.Name == "main") {
			return // programs that run in guests poll devices, which send no events
		}
		for _, spec := range f.Imports {
			if spec.Path.Value == `"testing/synctest"` {
				return
			}
		}
		alternatives := map[ast.Stmt]bool{} // the cases of selects, where a timer is an alarm
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if callName(n) == "time.Sleep" {
					t.Errorf("%s: sleeps; wait for the event, or use testing/synctest", name)
				}
			case *ast.ExprStmt:
				if receive, ok := n.X.(*ast.UnaryExpr); ok && isTimer(receive.X) && !alternatives[n] {
					t.Errorf("%s: sleeps on a timer; wait for the event, or use testing/synctest", name)
				}
			case *ast.SelectStmt:
				if len(n.Body.List) != 1 {
					for _, c := range n.Body.List {
						alternatives[c.(*ast.CommClause).Comm] = true
					}
					break
				}
				if only, ok := n.Body.List[0].(*ast.CommClause).Comm.(*ast.ExprStmt); ok {
					if receive, ok := only.X.(*ast.UnaryExpr); ok && isTimer(receive.X) {
						t.Errorf("%s: sleeps in a select", name)
					}
				}
			}
			return true
		})
	})
}

// isTimer reports whether an expression is a channel of time: time.After(…),
// time.Tick(…) or the C of a timer or ticker.
func isTimer(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CallExpr:
		return callName(e) == "time.After" || callName(e) == "time.Tick"
	case *ast.SelectorExpr:
		return e.Sel.Name == "C"
	}
	return false
}

// callName returns "package.Function" of a call, or "".
func callName(c *ast.CallExpr) string {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if pkg, ok := sel.X.(*ast.Ident); ok {
		return fmt.Sprintf("%s.%s", pkg.Name, sel.Sel.Name)
	}
	return ""
}

// TestNamesArePlain finds identifiers that were riddles, and types that are
// named by a participle: what is an "asked"?
func TestNamesArePlain(t *testing.T) {
	participle := regexp.MustCompile(`^[A-Za-z][a-z]+(ed|ing)$`)
	walk(t, func(name string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if participle.MatchString(n.Name.Name) && !slices.Contains(nouns, strings.ToLower(n.Name.Name)) {
					t.Errorf("%s: type %s: a type's name is a noun", name, n.Name.Name)
				}
				reportRiddle(t, name, n.Name.Name)
			case *ast.FuncDecl:
				reportRiddle(t, name, n.Name.Name)
			case *ast.Field:
				for _, id := range n.Names {
					reportRiddle(t, name, id.Name)
				}
			case *ast.ValueSpec:
				for _, id := range n.Names {
					reportRiddle(t, name, id.Name)
				}
			case *ast.AssignStmt:
				for _, e := range n.Lhs {
					if id, ok := e.(*ast.Ident); ok && n.Tok.String() == ":=" {
						reportRiddle(t, name, id.Name)
					}
				}
			}
			return true
		})
	})
}

func reportRiddle(t *testing.T, file, name string) {
	t.Helper()
	if slices.Contains(riddles, strings.ToLower(name)) {
		t.Errorf("%s: %s is a riddle: take the field's word", file, name)
	}
}

var (
	// nouns end like participles and are none.
	nouns = []string{
		"pairing", "signalling", "sharing", "listing", "finding", "ping", "string", "setting", "mapping",
		"binding", "feed", "seed", "speed", "shed", "ring",
	}
	// riddles are names that nobody could read.
	riddles = []string{
		"far", "sloth", "patience", "told", "asked", "doubt", "beside", "lent", "admitting", "asking",
		"hosted",
	}
)
