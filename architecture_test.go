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
			call := pkg.Name + "." + sel.Sel.Name
			if slices.Contains(environmentCalls, call) && !test && !covers(environment, path.Dir(name)) {
				t.Errorf("%s: %s belongs under cmd/", name, call)
			}
			return true
		})
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
