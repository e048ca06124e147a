package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestPagesAreCurrent(t *testing.T) {
	t.Parallel()
	pages, err := generate(os.DirFS("../../.."))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		if got, err := os.ReadFile(filepath.Join("..", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("web/docs/%s is not what its document leads to (%v): run go generate ./web", name, err)
		}
	}
	committed, err := filepath.Glob("../*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range committed {
		if pages[filepath.Base(file)] == nil {
			t.Errorf("%s has no document: run go generate ./web", file)
		}
	}
}

// tree is a checkout of a few documents.
func tree(index, a string) fstest.MapFS {
	files := fstest.MapFS{"docs/README.md": {Data: []byte(index)}, "docs/more/A.md": {Data: []byte(a)}}
	for _, name := range beside {
		files[name] = &fstest.MapFile{Data: []byte("# " + name + "\n\n## Part\n")}
	}
	return files
}

func TestRendering(t *testing.T) {
	t.Parallel()
	pages, err := generate(tree("# All\n\n[a](more/A.md), [home](../README.md)\n", strings.Join([]string{
		"# The `A` of it: all", "## Same", "## Same",
		"[up](../README.md) [there](../../README.md#part) [here](#same-1) [file](../../Makefile) [site](https://example.com/?a=1&b=2)",
		"<picture><img src=\"x.png\"></picture> after",
		"| a | b |\n|---|--:|\n| `x<y` | 2 |",
		"```sql\nSELECT '<b>'\n```",
	}, "\n\n")))
	if err != nil {
		t.Fatal(err)
	}
	page := string(pages["more-a.html"])
	for _, want := range []string{
		"<title>The A of it: all · taskfeed</title>", `<h2 id="same">`, `<h2 id="same-1">`, `<li><a href="#same-1">Same</a></li>`,
		`<a href="./">up</a>`, `<a href="readme#part">there</a>`, `<a href="#same-1">here</a>`,
		`<a href="https://github.com/taskfeed/taskfeed/blob/main/Makefile">file</a>`, `<a href="https://example.com/?a=1&amp;b=2">site</a>`,
		`<a href="more-a" aria-current="page">The A of it: all</a>`, `<a href="readme">README.md</a>`,
		`<div class="scroll"><table>`, "<code>x&lt;y</code>", "SELECT '&lt;b&gt;'", " after",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
	for _, unwanted := range []string{"<img", "<picture", "style=", "<script"} {
		if strings.Contains(page, unwanted) {
			t.Errorf("the page has %s:\n%s", unwanted, page)
		}
	}
	if !strings.Contains(string(pages["index.html"]), `<a href="more-a">a</a>`) {
		t.Errorf("the index does not link to its document:\n%s", pages["index.html"])
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, files := range []fstest.MapFS{
		tree("# All\n\n[a](more/A.md)\n", "# A\n\n[x](#nowhere)\n"),
		tree("# All\n\n[a](more/A.md)\n", "# A\n\n[x](../../README.md#nowhere)\n"),
		tree("# All\n\n[a](more/B.md)\n", "# A\n"),
		tree("# All\n\n[a](more/A.md)\n", "# A\n\nput <name> here\n"),
	} {
		if _, err := generate(files); err == nil {
			t.Errorf("%s: no error, want one", files["docs/more/A.md"].Data)
		}
	}
}
