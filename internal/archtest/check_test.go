package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// source is what the checks know of one file.
type source struct {
	path      string
	pkg       string // its directory; root for the top
	test      bool
	generated bool
	lines     int
	imports   []place // of Go files
	sleeps    []place // calls of time.Sleep
	dials     []place // connections to Postgres that are not set up by internal/dial
	openEnds  []place // reminders of unfinished work
}

// place is something found at a line.
type place struct {
	line int
	text string
}

// The words are concatenated so that this file does not contain them.
var openEnd = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)

// byHand are the suffixes of files that are searched for open ends.
var byHand = []string{".go", ".sql", ".ts", ".tsx", ".js", ".css", ".html", ".sh", "Makefile", "Dockerfile"}

// load reads the tree without the directories that the go command ignores and those
// that builds and package managers write.
func load(tree fs.FS) ([]source, error) {
	var sources []source
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && ignored(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !slices.ContainsFunc(byHand, func(end string) bool { return strings.HasSuffix(name, end) }):
			return nil
		}
		s, err := read(tree, name)
		sources = append(sources, s)
		return err
	})
	return sources, err
}

func ignored(dir string) bool {
	return strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "_") ||
		slices.Contains([]string{"testdata", "vendor", "node_modules", "dist", "bin"}, dir)
}

func read(tree fs.FS, name string) (source, error) {
	content, err := fs.ReadFile(tree, name)
	if err != nil {
		return source{}, err
	}
	s := source{path: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(content, []byte("\n"))}
	for i, line := range strings.Split(string(content), "\n") {
		if word := openEnd.FindString(line); word != "" {
			s.openEnds = append(s.openEnds, place{i + 1, word})
		}
	}
	if !strings.HasSuffix(name, ".go") {
		return s, nil
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, content, parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	s.generated = ast.IsGenerated(file)
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, place{files.Position(spec.Pos()).Line, imported})
	}
	for node := range ast.Preorder(file) {
		if sel, ok := node.(*ast.SelectorExpr); ok && isSleep(sel) {
			s.sleeps = append(s.sleeps, place{files.Position(sel.Pos()).Line, "time.Sleep"})
		}
		if sel, ok := node.(*ast.SelectorExpr); ok && unconfigured[selected(sel)] {
			s.dials = append(s.dials, place{files.Position(sel.Pos()).Line, selected(sel)})
		}
	}
	return s, nil
}

func isSleep(sel *ast.SelectorExpr) bool { return selected(sel) == "time.Sleep" }

// selected returns a selector as it is written: "time.Sleep".
func selected(sel *ast.SelectorExpr) string {
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + sel.Sel.Name
}

// complain returns a fault with its place, in the form that editors understand.
func (s *source) complain(line int, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: ", s.path, line) + fmt.Sprintf(format, args...)
}

// checkImports finds imports that the tables forbid.
func checkImports(sources []source) (faults []string) {
	for _, s := range sources {
		if !strings.HasSuffix(s.path, ".go") {
			continue
		}
		if _, known := mayImport[s.pkg]; !known {
			faults = append(faults, s.complain(1, "package %s is not in the table of packages", s.pkg))
			continue
		}
		for _, imported := range s.imports {
			if fault := s.judge(imported.text); fault != "" {
				faults = append(faults, s.complain(imported.line, "%s", fault))
			}
		}
	}
	return faults
}

// judge returns what is wrong with an import, or "".
func (s *source) judge(imported string) string {
	first, _, _ := strings.Cut(imported, "/")
	switch {
	case within(imported, module):
		return s.judgeOurs(path.Clean(strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")))
	case imported == "C":
		return "cgo is not used"
	case strings.Contains(first, "."):
		return s.judgeOutside(imported)
	}
	return "" // the standard library
}

func (s *source) judgeOurs(imported string) string {
	helper := slices.Contains(testHelpers, imported)
	switch {
	case s.test && (helper || imported == s.pkg || imported == "internal/devpg" || listed(testsMayImport[s.pkg], imported)):
		return ""
	case helper && !slices.Contains(mayImport[s.pkg], imported):
		return imported + " is for tests"
	case !s.test && !ofLab(s.pkg) && ofLab(imported):
		return fmt.Sprintf("%s is of the laboratory, package %s of the product", imported, s.pkg)
	case !listed(mayImport[s.pkg], imported):
		return fmt.Sprintf("package %s may not import %s", s.pkg, imported)
	}
	return ""
}

// ofLab reports whether a package tests or measures the product and is not part of
// it.
func ofLab(pkg string) bool { return within(pkg, "lab") || pkg == "cmd/taskfeed-lab" }

func (s *source) judgeOutside(imported string) string {
	for _, h := range homes {
		if !slices.ContainsFunc(h.modules, func(m string) bool { return within(imported, m) }) {
			continue
		}
		if s.test && listed(h.tests, s.pkg) {
			return ""
		}
		if !listed(h.in, s.pkg) {
			return fmt.Sprintf("%s is not at home in package %s", imported, s.pkg)
		}
		if !s.test && slices.Contains(standardOnly, s.pkg) {
			return fmt.Sprintf("package %s imports the standard library only, not %s", s.pkg, imported)
		}
		return ""
	}
	return imported + " is not in the table of outside modules"
}

func within(imported, prefix string) bool {
	return imported == prefix || strings.HasPrefix(imported, prefix+"/")
}

func listed(list []string, name string) bool {
	return slices.Contains(list, name) || slices.Contains(list, anywhere)
}

// checkNames finds directories of code with a meaningless name.
func checkNames(sources []source) (faults []string) {
	for _, s := range sources {
		for dir := range strings.SplitSeq(s.pkg, "/") {
			if slices.Contains(badNames, dir) {
				faults = append(faults, s.complain(1, "a directory called %s says nothing", dir))
			}
		}
	}
	return faults
}

// checkLengths finds files that are too long.
func checkLengths(sources []source) (faults []string) {
	for _, s := range sources {
		if strings.HasSuffix(s.path, ".go") && !s.test && !s.generated && s.lines > maxLines {
			faults = append(faults, s.complain(maxLines, "the file has %d lines, want %d at most", s.lines, maxLines))
		}
	}
	return faults
}

// checkSleeps finds tests that sleep: any time is too short on a busy machine or too
// long on an idle one. The rule is also for packages that help tests. Files with
// synctest may sleep: time in a bubble is not real.
func checkSleeps(sources []source) (faults []string) {
	for _, s := range sources {
		bubble := slices.ContainsFunc(s.imports, func(p place) bool { return p.text == "testing/synctest" })
		if bubble || !s.test && !strings.HasSuffix(s.pkg, "test") {
			continue
		}
		for _, sleep := range s.sleeps {
			faults = append(faults, s.complain(sleep.line, "a test waits for a signal or a bounded condition, not for %s", sleep.text))
		}
	}
	return faults
}

// checkDials finds connections to Postgres that are not set up by internal/dial:
// settings of a role or a database, such as search_path, would apply to them. Tests
// and examples may connect as apps do.
func checkDials(sources []source) (faults []string) {
	for _, s := range sources {
		if s.test || s.pkg == "internal/dial" || within(s.pkg, "examples") || slices.Contains(testHelpers, s.pkg) {
			continue
		}
		for _, dial := range s.dials {
			faults = append(faults, s.complain(dial.line, "connections are set up by internal/dial, not by %s", dial.text))
		}
	}
	return faults
}

// checkOpenEnds finds reminders of unfinished work.
func checkOpenEnds(sources []source) (faults []string) {
	for _, s := range sources {
		for _, end := range s.openEnds {
			faults = append(faults, s.complain(end.line, "%s: do it or file it", end.text))
		}
	}
	return faults
}
