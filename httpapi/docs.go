package httpapi

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"go.yaml.in/yaml/v3"
)

// The contract for machines: this API as OpenAPI, the frames of the feeds as
// AsyncAPI with a JSON Schema each. The page for people is made of the former.
//
//go:embed openapi.yaml asyncapi.yaml schemas/*.json docs/*
var contract embed.FS

// contractRoutes adds the URLs of the contract. A document that cannot be read
// is a fault of the program, which its tests find.
func contractRoutes(e *echo.Echo) error {
	openAPI, err := contract.ReadFile("openapi.yaml")
	if err != nil {
		return err
	}
	asJSON, err := yamlToJSON(openAPI)
	if err != nil {
		return err
	}
	page, err := docsPage(openAPI)
	if err != nil {
		return err
	}
	static := func(path, kind string, body []byte) {
		e.Match(getOrHead, path, func(c echo.Context) error {
			header := c.Response().Header()
			header.Set("Cache-Control", "no-cache")
			header.Set("X-Content-Type-Options", "nosniff")
			header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			return c.Blob(http.StatusOK, kind, body)
		})
	}
	static("/openapi.yaml", "application/yaml", openAPI)
	static("/openapi.json", typeJSON, asJSON)
	static("/docs", "text/html; charset=utf-8", page)
	for path, kind := range map[string]string{"asyncapi.yaml": "application/yaml", "docs/docs.css": "text/css; charset=utf-8"} {
		body, err := contract.ReadFile(path)
		if err != nil {
			return err
		}
		static("/"+path, kind, body)
	}
	e.Match(getOrHead, "/schemas/:name", handleSchema)
	return nil
}

// handleSchema answers with the JSON Schema of a frame.
func handleSchema(c echo.Context) error {
	name := c.Param("name")
	body, err := contract.ReadFile("schemas/" + name)
	if err != nil || strings.Contains(name, "/") {
		return errNotFound
	}
	c.Response().Header().Set("Cache-Control", "no-cache")
	return c.Blob(http.StatusOK, "application/schema+json", body)
}

// yamlToJSON keeps the order of the keys.
func yamlToJSON(doc []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(doc, &root); err != nil {
		return nil, fmt.Errorf("read yaml: %w", err)
	}
	return appendNode(nil, &root)
}

func appendNode(dst []byte, n *yaml.Node) (_ []byte, err error) {
	switch n.Kind {
	case yaml.DocumentNode:
		return appendNode(dst, n.Content[0])
	case yaml.AliasNode:
		return appendNode(dst, n.Alias)
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, item := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendNode(dst, item); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case yaml.MappingNode:
		dst = append(dst, '{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendScalar(dst, n.Content[i].Value); err != nil {
				return nil, err
			}
			if dst, err = appendNode(append(dst, ':'), n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	}
	var value any
	if err := n.Decode(&value); err != nil {
		return nil, fmt.Errorf("read yaml at line %d: %w", n.Line, err)
	}
	return appendScalar(dst, value)
}

func appendScalar(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}
