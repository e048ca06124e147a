// Command generate renders the project's Markdown files as the pages that servers show
// at /docs. "go generate ./web" runs it; a test fails while a page is not what it would
// write.
package main

import (
	"fmt"
	"io/fs"
	"log"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	pages, err := generate(os.DirFS(".."))
	if err == nil {
		err = write("docs", pages)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// write replaces the pages in a directory.
func write(dir string, pages map[string][]byte) error {
	old, err := filepath.Glob(filepath.Join(dir, "*.html"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, content := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// index lists the documents. Its page is at /docs/.
const index = "docs/README.md"

// beside are the documents that are not below docs/.
var beside = []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "web/client/README.md"}

// generate returns the page of each document of the checkout by its file name.
func generate(checkout fs.FS) (map[string][]byte, error) {
	names := slices.Clone(beside)
	err := fs.WalkDir(checkout, "docs", func(name string, d fs.DirEntry, err error) error {
		if err == nil && path.Ext(name) == ".md" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	documents := make(map[string]*document, len(names))
	for _, name := range names {
		source, err := fs.ReadFile(checkout, name)
		if err != nil {
			return nil, err
		}
		documents[name] = parse(name, source)
	}
	pages := make(map[string][]byte, len(documents))
	for _, d := range documents {
		page, err := d.page(documents)
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", d.name, err)
		}
		pages[slug(d.name)+".html"] = page
	}
	return pages, nil
}

// slug is the last part of a document's URL: docs/recipes/django.md is at
// /docs/recipes-django.
func slug(name string) string {
	if name == index {
		return "index"
	}
	name = strings.TrimPrefix(strings.TrimSuffix(name, ".md"), "docs/")
	if dir, base := path.Split(name); base == "README" && dir != "" {
		name = path.Clean(dir)
	}
	return strings.ReplaceAll(strings.ToLower(name), "/", "-")
}
