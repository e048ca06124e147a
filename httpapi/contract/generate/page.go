package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The page for people needs no script and shows the OpenAPI document alone.

//go:embed page.html
var pageTemplate string

// document is what the page shows of an OpenAPI document.
type document struct {
	Info struct {
		Title, Version, Summary, Description string
	}
	Tags []struct {
		Name, Description string
	}
	Paths      ordered[ordered[operation]]
	Components struct {
		Parameters      ordered[parameter]
		Responses       ordered[response]
		Schemas         ordered[schema]
		SecuritySchemes ordered[struct{ Description string }] `yaml:"securitySchemes"`
	}
}

type operation struct {
	Tags                 []string
	ID                   string `yaml:"operationId"`
	Summary, Description string
	Parameters           []parameter
	Responses            ordered[response]
	Security             []map[string][]string

	Method, Path string `yaml:"-"`
}

type parameter struct {
	Ref                   string `yaml:"$ref"`
	Name, In, Description string
	Required              bool
	Schema                schema
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string
	Content     ordered[media]
}

type media struct {
	Schema  schema
	Example yaml.Node
}

type schema struct {
	Ref                       string `yaml:"$ref"`
	Type, Description, Format string
	Enum                      []string
	Const, Default            string
	Items                     *schema
	OneOf                     []schema `yaml:"oneOf"`
	Properties                ordered[schema]
	Required                  []string
}

// ordered is a mapping that keeps its order.
type ordered[T any] []entry[T]

type entry[T any] struct {
	Key   string
	Value T
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (o *ordered[T]) UnmarshalYAML(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := entry[T]{Key: n.Content[i].Value}
		if err := n.Content[i+1].Decode(&e.Value); err != nil {
			return err
		}
		*o = append(*o, e)
	}
	return nil
}

// get returns the value with the key that a reference ends with.
func (o ordered[T]) get(ref string) (value T, err error) {
	i := slices.IndexFunc(o, func(e entry[T]) bool { return e.Key == path.Base(ref) })
	if i < 0 {
		return value, fmt.Errorf("%s leads nowhere", ref)
	}
	return o[i].Value, nil
}

// docsPage returns the page for an OpenAPI document.
func docsPage(openAPI []byte) ([]byte, error) {
	var doc document
	if err := yaml.Unmarshal(openAPI, &doc); err != nil {
		return nil, fmt.Errorf("read OpenAPI document: %w", err)
	}
	page, err := template.New("page.html").Funcs(template.FuncMap{
		"operations": doc.operations,
		"text":       richText,
		"type":       typeOf,
		"example":    exampleText,
		"has":        func(list []string, s string) bool { return slices.Contains(list, s) },
		"upper":      strings.ToUpper,
		"slug":       func(s string) string { return strings.ReplaceAll(strings.ToLower(s), " ", "-") },
	}).Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = page.Execute(&b, &doc)
	return b.Bytes(), err
}

// operations returns those with a tag, their references resolved.
func (d *document) operations(tag string) ([]operation, error) {
	var found []operation
	for _, item := range d.Paths {
		for _, method := range item.Value {
			op := method.Value
			if !slices.Contains(op.Tags, tag) {
				continue
			}
			op.Method, op.Path = method.Key, item.Key
			if err := d.resolve(&op); err != nil {
				return nil, err
			}
			found = append(found, op)
		}
	}
	return found, nil
}

func (d *document) resolve(op *operation) (err error) {
	for i := range op.Parameters {
		if p := &op.Parameters[i]; p.Ref != "" {
			if *p, err = d.Components.Parameters.get(p.Ref); err != nil {
				return err
			}
		}
	}
	for i := range op.Responses {
		if r := &op.Responses[i].Value; r.Ref != "" {
			if *r, err = d.Components.Responses.get(r.Ref); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	codeText = regexp.MustCompile("`([^`]+)`")
	linkText = regexp.MustCompile(`\[([^\]]+)\]\(([\w./#-]+)\)`)
)

// richText is a description as HTML: paragraphs, code and links to this server.
func richText(s string) template.HTML {
	var b strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(s), "\n\n") {
		escaped := template.HTMLEscapeString(paragraph)
		escaped = codeText.ReplaceAllString(escaped, "<code>$1</code>")
		escaped = linkText.ReplaceAllStringFunc(escaped, link)
		b.WriteString("<p>" + escaped + "</p>\n")
	}
	return template.HTML(b.String())
}

// link is a link as the page, which is in /docs, has it.
func link(s string) string {
	m := linkText.FindStringSubmatch(s)
	target := m[2]
	if !strings.HasPrefix(target, "#") {
		target = "../" + target
	}
	return fmt.Sprintf(`<a href="%s">%s</a>`, target, m[1])
}

// typeOf describes a schema in a few words.
func typeOf(s *schema) template.HTML {
	escape := template.HTMLEscapeString
	switch {
	case s.Ref != "":
		name := escape(path.Base(s.Ref))
		return template.HTML(`<a href="#schema-` + name + `">` + name + `</a>`)
	case s.Items != nil:
		return "list of " + typeOf(s.Items)
	case len(s.OneOf) > 0:
		parts := make([]string, len(s.OneOf))
		for i := range s.OneOf {
			parts[i] = string(typeOf(&s.OneOf[i]))
		}
		return template.HTML(strings.Join(parts, " or "))
	case len(s.Enum) > 0:
		return template.HTML("<code>" + escape(strings.Join(s.Enum, " | ")) + "</code>")
	case s.Const != "":
		return template.HTML("<code>" + escape(s.Const) + "</code>")
	case s.Type == "":
		return "any"
	case s.Format != "":
		return template.HTML(escape(s.Type + ", " + s.Format))
	}
	return template.HTML(escape(s.Type))
}

// exampleText shows an example as JSON, or as it stands where it is text.
func exampleText(n yaml.Node) (string, error) {
	if n.Kind == 0 || n.Kind == yaml.ScalarNode {
		return n.Value, nil
	}
	b, err := appendNode(nil, &n)
	if err != nil {
		return "", err
	}
	var pretty bytes.Buffer
	err = json.Indent(&pretty, b, "", "  ")
	return pretty.String(), err
}
