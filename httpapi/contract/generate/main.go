// Command generate writes openapi.json and docs.html, which package contract
// publishes, from openapi.yaml. "go generate ./httpapi/contract" runs it; a test
// fails while the files are not what it would write.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

func main() {
	files, err := generate(".")
	if err != nil {
		log.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// generate returns the content of each file that is made from the openapi.yaml in
// dir.
func generate(dir string) (map[string][]byte, error) {
	openAPI, err := os.ReadFile(filepath.Join(dir, "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	asJSON, err := yamlToJSON(openAPI)
	if err != nil {
		return nil, err
	}
	page, err := docsPage(openAPI)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"openapi.json": asJSON, "docs.html": page}, nil
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
