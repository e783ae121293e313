package docs_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write anew what docs/architecture.md takes from the code")

// fromCode is a part of the page that is taken from the code: the imports, or parts of a file.
var fromCode = regexp.MustCompile("(?ms)^<!-- from the code: (.+?) -->\n```\\w*\n.*?^```$")

// What the page quotes is the code as it is.
func TestArchitectureQuotesTheCode(t *testing.T) {
	const path = "architecture.md"
	page, parts := read(t, path), 0
	want := fromCode.ReplaceAllStringFunc(page, func(part string) string {
		parts++
		what := fromCode.FindStringSubmatch(part)[1]
		if what == "imports" {
			return fmt.Sprintf("<!-- from the code: %s -->\n```text\n%s```", what, importsPicture(t))
		}
		words := strings.Fields(what)
		return fmt.Sprintf("<!-- from the code: %s -->\n```go\n%s```", what, quoted(t, words[0], words[1:]))
	})
	if begun := strings.Count(page, "<!-- from the code: "); parts != begun || parts < 3 {
		t.Errorf("%s has %d parts from the code, and %d of them end", path, begun, parts)
	}
	if want == page {
		return
	}
	if !*update {
		t.Fatalf("%s does not quote the code as it is; run go test ./docs -run Architecture -update", path)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// quoted gives parts of a file as they are written there: declarations with their comments, or what stands between
// the lines "// docs: begin NAME" and "// docs: end NAME".
func quoted(t *testing.T, file string, names []string) string {
	t.Helper()
	source := read(t, filepath.Join("..", file))
	declared := declarations(t, file)
	var out []string
	for _, name := range names {
		if _, part, ok := strings.Cut(source, "// docs: begin "+name+"\n"); ok {
			part, _, _ = strings.Cut(part, "// docs: end "+name+"\n")
			out = append(out, strings.TrimSpace(part)+"\n")
			continue
		}
		at, ok := declared[name]
		if !ok {
			t.Fatalf("%s declares no %s", file, name)
		}
		out = append(out, source[at.from:at.to]+"\n")
	}
	return strings.Join(out, "\n")
}

// span of a declaration in its file, in bytes.
type span struct{ from, to int }

// declarations of a Go file at its top level; a method, also of an interface, is TYPE.NAME.
func declarations(t *testing.T, file string) map[string]span {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, filepath.Join("..", file), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]span{}
	add := func(name string, n ast.Node, comment *ast.CommentGroup) {
		from := n.Pos()
		if comment != nil {
			from = comment.Pos()
		}
		out[name] = span{files.Position(from).Offset, files.Position(n.End()).Offset}
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			add(receiver(d)+d.Name.Name, d, d.Doc)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				var n ast.Node = s
				names, comment := specNames(s)
				if !d.Lparen.IsValid() {
					n, comment = d, d.Doc
				}
				for method := range interfaceMethods(s) {
					add(names[0]+"."+method.Names[0].Name, method, method.Doc)
				}
				for _, name := range names {
					add(name, n, comment)
				}
			}
		}
	}
	return out
}

// interfaceMethods that a type declares itself; none where it is no interface.
func interfaceMethods(s ast.Spec) iter.Seq[*ast.Field] {
	return func(yield func(*ast.Field) bool) {
		t, ok := s.(*ast.TypeSpec)
		if !ok {
			return
		}
		of, ok := t.Type.(*ast.InterfaceType)
		if !ok {
			return
		}
		for _, m := range of.Methods.List {
			if len(m.Names) > 0 && !yield(m) {
				return
			}
		}
	}
}

// receiver is the type of a method and a dot; empty: a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if p, ok := of.(*ast.StarExpr); ok {
		of = p.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

func specNames(s ast.Spec) (names []string, comment *ast.CommentGroup) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		return []string{s.Name.Name}, s.Doc
	case *ast.ValueSpec:
		for _, n := range s.Names {
			names = append(names, n.Name)
		}
		return names, s.Doc
	}
	return nil, nil
}

const module = "github.com/cacheinv/cacheinv_exporter"

// projectImports gives packages of this project that go list finds, by their folders, with the folders that they import.
func projectImports(t *testing.T, args ...string) map[string][]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-f", `{{.ImportPath}} {{join .Imports " "}}`}, args...)...)
	list.Dir = ".."
	var stderr bytes.Buffer
	list.Stderr = &stderr
	text, err := list.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if from, ours := folderOf(words[0]); ours {
			out[from] = []string{}
			for _, w := range words[1:] {
				if to, ours := folderOf(w); ours {
					out[from] = append(out[from], to)
				}
			}
		}
	}
	return out
}

func folderOf(importPath string) (folder string, ours bool) {
	if importPath == module {
		return "main.go", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// boxOf a folder in the picture: all backends are one, and so is what they share.
func boxOf(folder string) string {
	under, inside := strings.CutPrefix(folder, "probes/")
	switch {
	case !inside || under == "backends":
		return folder
	case strings.HasPrefix(under, "internal/"):
		return "probes/internal/*"
	}
	return "probes/* (each backend)"
}

// importsPicture has a line for each box of the binary, the highest floor first. A box stands one floor above the highest
// that it imports. An import that follows from another is left out.
func importsPicture(t *testing.T) string {
	t.Helper()
	boxes := map[string]map[string]bool{}
	for from, imports := range projectImports(t, "-deps", ".") {
		box := boxOf(from)
		if boxes[box] == nil {
			boxes[box] = map[string]bool{}
		}
		for _, to := range imports {
			if boxOf(to) != box {
				boxes[box][boxOf(to)] = true
			}
		}
	}
	floors, reach := map[string]int{}, map[string]map[string]bool{}
	var visit func(box string)
	visit = func(box string) {
		if reach[box] != nil {
			return
		}
		reach[box] = map[string]bool{}
		for to := range boxes[box] {
			visit(to)
			floors[box] = max(floors[box], floors[to]+1)
			reach[box][to] = true
			for further := range reach[to] {
				reach[box][further] = true
			}
		}
	}
	var names []string
	width := 0
	for box := range boxes {
		visit(box)
		names, width = append(names, box), max(width, len(box))
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(floors[b]-floors[a], strings.Compare(a, b)) })
	var out strings.Builder
	last := -1
	for _, box := range names {
		floor := "  "
		if floors[box] != last {
			last = floors[box]
			floor = fmt.Sprintf("%2d", last)
		}
		var direct []string
		for to := range boxes[box] {
			follows := false
			for other := range boxes[box] {
				follows = follows || reach[other][to]
			}
			if !follows {
				direct = append(direct, to)
			}
		}
		slices.SortFunc(direct, func(a, b string) int { return cmp.Or(floors[b]-floors[a], strings.Compare(a, b)) })
		line := fmt.Sprintf("%s  %-*s", floor, width, box)
		if len(direct) > 0 {
			line += "  -> " + strings.Join(direct, ", ")
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}

var (
	inCode = regexp.MustCompile("`([^`]+)`")
	// ourPath is text that names a file or a folder of the repository.
	ourPath = regexp.MustCompile(`^(?:alerts|collector|dashboards|docs|internal|probes|\.ci)/[\w./-]*$`)
)

// section of a page, up to the next heading of its level.
func section(t *testing.T, page, title string) string {
	t.Helper()
	_, text, ok := strings.Cut(page, "\n## "+title+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", title)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// rows of the tables of a text, by their cells, without the headings.
func rows(text string) (out [][]string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|---") {
			out = out[:len(out)-1]
		} else if strings.HasPrefix(line, "| ") {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			out = append(out, cells)
		}
	}
	return out
}

// Each package has a line on the page, and each line is about a folder that is there.
func TestArchitectureHasEachFolder(t *testing.T) {
	text := section(t, read(t, "architecture.md"), "The folders")
	told := map[string]bool{}
	for _, row := range rows(text) {
		for _, m := range inCode.FindAllStringSubmatch(row[0], -1) {
			name := strings.TrimSuffix(m[1], "/")
			if told[name] {
				t.Errorf("%s has two lines", name)
			}
			told[name] = true
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Error(err)
			}
		}
	}
	for folder := range projectImports(t, "./...") {
		if !told[folder] {
			t.Errorf("docs/architecture.md has no line about %s", folder)
		}
	}
}

// Each answer names files that exist, and what they declare.
func TestArchitectureAnswers(t *testing.T) {
	answers := rows(section(t, read(t, "architecture.md"), "Where is …?"))
	if len(answers) < 15 {
		t.Errorf("only %d questions are answered", len(answers))
	}
	for _, row := range answers {
		known, files := map[string]bool{}, 0
		var names []string
		for _, m := range inCode.FindAllStringSubmatch(row[1], -1) {
			if !ourPath.MatchString(m[1]) {
				names = append(names, m[1])
				continue
			}
			files++
			if strings.HasSuffix(m[1], ".go") {
				for name := range declarations(t, m[1]) {
					known[name] = true
				}
			}
		}
		if files == 0 {
			t.Errorf("%q: the answer names no file", row[0])
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("%q: the named files declare no %s", row[0], name)
			}
		}
	}
}

// dotted is a name with a dot in the page: PACKAGE.NAME or TYPE.METHOD, with or without a call.
var dotted = regexp.MustCompile(`(?:^|[\s(>` + "`" + `])([A-Za-z]+\.[A-Za-z]+)\b`)

// What the page names with a dot, in code, is declared somewhere: a type of a package, or a method of a type.
func TestArchitectureNamesWhatIsDeclared(t *testing.T) {
	known := map[string]bool{}
	for folder := range projectImports(t, "./...") {
		paths, err := filepath.Glob(filepath.Join("..", strings.TrimSuffix(folder, "main.go"), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			for name := range declarations(t, strings.TrimPrefix(path, "../")) {
				known[name], known[filepath.Base(folder)+"."+name] = true, true
			}
		}
	}
	page := regexp.MustCompile("(?ms)^```(?:go|sh)\n.*?^```$").ReplaceAllString(read(t, "architecture.md"), "")
	code := inCode.FindAllString(strings.ReplaceAll(page, "```", "\n"), -1)
	code = append(code, blocks(page, "text")...)
	seen := 0
	for _, part := range code {
		for _, m := range dotted.FindAllStringSubmatch(part, -1) {
			if _, ending, _ := strings.Cut(m[1], "."); slices.Contains([]string{"go", "md", "yml", "com"}, ending) {
				continue
			}
			seen++
			if !known[m[1]] {
				t.Errorf("docs/architecture.md names %s, which nothing declares", m[1])
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d names were found", seen)
	}
}

// documents are all pages for people, by their paths from docs/.
func documents(t *testing.T) []string {
	t.Helper()
	here, err := filepath.Glob("*.md")
	if err != nil || len(here) < 8 {
		t.Fatalf("the pages were not found: %q, %v", here, err)
	}
	return append(append(here, pages(t)...), "../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md", "../alerts/README.md")
}

// Each file or folder of the repository that a page names is there.
func TestPagesNameWhatIsThere(t *testing.T) {
	for _, path := range documents(t) {
		for _, m := range inCode.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, path), ""), -1) {
			if !ourPath.MatchString(m[1]) || strings.Contains(m[1], "NAME") {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
