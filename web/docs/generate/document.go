package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// repository is where files are that are no documents.
const repository = "https://github.com/taskfeed/taskfeed/blob/main/"

//go:embed page.html
var pageTemplate string

var layout = template.Must(template.New("page.html").Parse(pageTemplate))

// markdown reads what the documents use. Pictures are left out.
var markdown = goldmark.New(
	goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute))),
	goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(withoutHTML{}, 1))),
)

// withoutHTML leaves out the HTML of pictures and refuses all other.
type withoutHTML struct{}

var pictures = regexp.MustCompile(`^\s*</?(picture|source|img)\b`)

// RegisterFuncs implements renderer.NodeRenderer.
func (withoutHTML) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	skip := func(lines *text.Segments, source []byte) (ast.WalkStatus, error) {
		for _, line := range lines.Sliced(0, lines.Len()) {
			if html := line.Value(source); !pictures.Match(html) {
				return ast.WalkStop, fmt.Errorf("%q would be HTML; write it as code", html)
			}
		}
		return ast.WalkSkipChildren, nil
	}
	r.Register(ast.KindHTMLBlock, func(_ util.BufWriter, source []byte, n ast.Node, _ bool) (ast.WalkStatus, error) {
		return skip(n.(*ast.HTMLBlock).Lines(), source)
	})
	r.Register(ast.KindRawHTML, func(_ util.BufWriter, source []byte, n ast.Node, _ bool) (ast.WalkStatus, error) {
		return skip(n.(*ast.RawHTML).Segments, source)
	})
}

// document is a Markdown file.
type document struct {
	name     string // its path in the checkout
	source   []byte
	root     ast.Node
	headings []heading
	links    []*ast.Link
}

type heading struct {
	level    int
	ID, Text string
}

func parse(name string, source []byte) *document {
	d := &document{name: name, source: source, root: markdown.Parser().Parse(text.NewReader(source))}
	_ = ast.Walk(d.root, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // it only fails if this does
		switch n := n.(type) {
		case *ast.Heading:
			if entering {
				d.addHeading(n)
			}
		case *ast.Link:
			if entering {
				d.links = append(d.links, n)
			}
		}
		return ast.WalkContinue, nil
	})
	return d
}

// addHeading gives a heading the id that GitHub gives it.
func (d *document) addHeading(n *ast.Heading) {
	h := heading{level: n.Level, Text: d.textOf(n)}
	h.ID = anchor(h.Text)
	for i := 1; d.has(h.ID); i++ {
		h.ID = anchor(h.Text) + "-" + strconv.Itoa(i)
	}
	n.SetAttributeString("id", []byte(h.ID))
	d.headings = append(d.headings, h)
}

func (d *document) has(id string) bool {
	return slices.ContainsFunc(d.headings, func(h heading) bool { return h.ID == id })
}

// textOf returns the text of a node without its markup.
func (d *document) textOf(n ast.Node) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Segment.Value(d.source))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

var notInAnchors = regexp.MustCompile(`[^\p{L}\p{N}_\s-]`)

func anchor(text string) string {
	return strings.ReplaceAll(strings.ToLower(notInAnchors.ReplaceAllString(text, "")), " ", "-")
}

// title is the document's first heading.
func (d *document) title() string {
	if len(d.headings) == 0 {
		return d.name
	}
	return d.headings[0].Text
}

// url is where another page finds the document.
func (d *document) url() string {
	if d.name == index {
		return "./"
	}
	return slug(d.name)
}

// page renders the document, with links to the pages of the others.
func (d *document) page(all map[string]*document) ([]byte, error) {
	targets := make([][]byte, len(d.links)) // the index is read for every page, so links are changed for this one alone
	for i, link := range d.links {
		targets[i] = link.Destination
		target, err := d.resolve(string(link.Destination), all)
		if err != nil {
			return nil, err
		}
		link.Destination = []byte(target)
	}
	var body, page bytes.Buffer
	err := markdown.Renderer().Render(&body, d.source, d.root)
	for i, link := range d.links {
		link.Destination = targets[i]
	}
	if err != nil {
		return nil, err
	}
	contents, err := d.contents(all)
	if err != nil {
		return nil, err
	}
	scrolling := strings.NewReplacer("<table>", `<div class="scroll"><table>`, "</table>", "</table></div>").Replace(body.String())
	err = layout.Execute(&page, map[string]any{
		"Title":    d.title(),
		"Contents": contents,
		"Body":     template.HTML(scrolling), // of our own documents, without HTML in them
	})
	return page.Bytes(), err
}

// entry is a line of the navigation.
type entry struct {
	URL, Title string
	Here       bool
	Headings   []heading // of this page
}

// contents lists the documents in the order of the index.
func (d *document) contents(all map[string]*document) (entries []entry, err error) {
	for _, link := range all[index].links {
		other := all[path.Join(path.Dir(index), string(link.Destination))]
		if other == nil {
			return nil, fmt.Errorf("the index links to %s, which is no document", link.Destination)
		}
		e := entry{URL: other.url(), Title: other.title(), Here: other == d}
		if e.Here {
			e.Headings = d.sections()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (d *document) sections() (found []heading) {
	for _, h := range d.headings {
		if h.level == 2 {
			found = append(found, h)
		}
	}
	return found
}

// resolve returns the target of a link on the page of the document. Links of documents
// must lead somewhere.
func (d *document) resolve(target string, all map[string]*document) (string, error) {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return target, nil
	}
	file, fragment, _ := strings.Cut(target, "#")
	name := d.name
	if file != "" {
		name = path.Join(path.Dir(d.name), file)
	}
	to := all[name]
	switch {
	case to == nil:
		return repository + path.Join(path.Dir(d.name), target), nil
	case fragment == "":
		return to.url(), nil
	case !to.has(fragment):
		return "", fmt.Errorf("%s has no heading #%s", name, fragment)
	case to == d:
		return "#" + fragment, nil
	}
	return to.url() + "#" + fragment, nil
}
