// Package contracttest checks the server's answers and frames against its published
// contract: the OpenAPI document and the JSON Schemas of the frames. It is stricter
// than a client needs to be: a field that the contract does not name is a fault, so
// that the contract is complete.
package contracttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Contract is the contract of answers and frames. It is safe for concurrent use.
type Contract struct {
	Doc        *openapi3.T
	router     routers.Router
	frame      *jsonschema.Schema
	components any // of Doc, as JSON

	mu     sync.Mutex
	bodies map[*openapi3.SchemaRef]*jsonschema.Schema // compiled when first needed
}

// Load reads openapi.yaml and schemas/frame.json of a tree, contract.Files for one.
func Load(t testing.TB, tree fs.FS) *Contract {
	t.Helper()
	text, err := fs.ReadFile(tree, "openapi.yaml")
	if err != nil {
		t.Fatalf("contract: %v", err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatalf("contract: load openapi.yaml: %v", err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("contract: openapi.yaml: %v", err)
	}
	tighten(doc)
	doc.Servers = nil // it is served anywhere
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatalf("contract: openapi.yaml: %v", err)
	}
	components, err := asJSON(doc.Components)
	if err != nil {
		t.Fatalf("contract: openapi.yaml: %v", err)
	}
	return &Contract{Doc: doc, router: router, frame: loadFrame(t, tree), components: components,
		bodies: make(map[*openapi3.SchemaRef]*jsonschema.Schema)}
}

// asJSON converts a value for the schema compiler.
func asJSON(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(b))
}

// tighten forbids fields that no schema names.
func tighten(doc *openapi3.T) {
	no := false
	for _, ref := range doc.Components.Schemas {
		closeSchema(ref, &no)
	}
}

func closeSchema(ref *openapi3.SchemaRef, no *bool) {
	if ref == nil || ref.Ref != "" || ref.Value == nil {
		return
	}
	s := ref.Value
	if len(s.Properties) > 0 && s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil {
		s.AdditionalProperties.Has = no
	}
	closeSchema(s.Items, no)
	for _, property := range s.Properties {
		closeSchema(property, no)
	}
}

// CheckAnswer checks an answer against the contract, and, when it is a success, also
// the request. A URL of the API that the contract does not name must not exist.
func (c *Contract) CheckAnswer(t testing.TB, r *http.Request, resp *http.Response, body []byte) {
	t.Helper()
	if err := c.answer(r, resp, body); err != nil {
		t.Errorf("contract: %s %s: %d %s: %v", r.Method, r.URL.Path, resp.StatusCode, body[:min(len(body), 300)], err)
	}
}

func (c *Contract) answer(r *http.Request, resp *http.Response, body []byte) error {
	lookup := r.Clone(r.Context())
	lookup.URL.Path = lookup.URL.EscapedPath() // in the decoded path the router would treat an escaped slash as a separator
	if r.Method == http.MethodHead {
		lookup.Method = http.MethodGet
	}
	route, params, err := c.router.FindRoute(lookup)
	if err != nil {
		if resp.StatusCode/100 == 2 && r.Method != http.MethodOptions && strings.HasPrefix(r.URL.Path, "/v1/") {
			return err
		}
		return nil // a page, or nothing
	}
	options := &openapi3filter.Options{
		MultiError:            true,
		IncludeResponseStatus: true,
		ExcludeResponseBody:   true,
		AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
	}
	request := &openapi3filter.RequestValidationInput{Request: lookup, PathParams: params, Route: route, Options: options}
	var errs []error
	if resp.StatusCode/100 == 2 {
		errs = append(errs, openapi3filter.ValidateRequest(r.Context(), request))
	}
	if r.Method != http.MethodHead {
		errs = append(errs, openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: request,
			Status:                 resp.StatusCode,
			Header:                 resp.Header,
			Options:                options,
		}), c.body(route, resp, body))
	}
	return errors.Join(errs...)
}

// body checks the body of an answer against its schema. The validator of answers would
// compile the schema each time.
func (c *Contract) body(route *routers.Route, resp *http.Response, body []byte) error {
	answer := route.Operation.Responses.Status(resp.StatusCode)
	if answer == nil {
		answer = route.Operation.Responses.Default()
	}
	if len(answer.Value.Content) == 0 || resp.StatusCode == http.StatusNotModified {
		return nil
	}
	kind := resp.Header.Get("Content-Type")
	media := answer.Value.Content.Get(kind)
	switch {
	case media == nil:
		return fmt.Errorf("the contract does not name the type %q", kind)
	case !strings.Contains(kind, "json") || strings.Contains(kind, "ndjson"):
		return nil
	}
	schema, err := c.compiled(media.Schema)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func (c *Contract) compiled(ref *openapi3.SchemaRef) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if schema, ok := c.bodies[ref]; ok {
		return schema, nil
	}
	part, err := asJSON(ref)
	if err != nil {
		return nil, err
	}
	const name = "https://taskfeed.invalid/body.json"
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(name, map[string]any{"components": c.components, "allOf": []any{part}}); err != nil {
		return nil, err
	}
	c.bodies[ref], err = compiler.Compile(name)
	return c.bodies[ref], err
}

// loadFrame compiles the schema of all frames, which refers to the other schemas.
func loadFrame(t testing.TB, tree fs.FS) *jsonschema.Schema {
	t.Helper()
	const base = "https://taskfeed.invalid/"
	compiler := jsonschema.NewCompiler()
	names, err := fs.Glob(tree, "schemas/*.json")
	if err != nil {
		t.Fatalf("contract: %v", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			t.Fatalf("contract: %v", err)
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = compiler.AddResource(base+name, schema)
		}
		if err != nil {
			t.Fatalf("contract: %s: %v", name, err)
		}
	}
	for _, name := range names {
		if _, err := compiler.Compile(base + name); err != nil {
			t.Fatalf("contract: %s: %v", name, err)
		}
	}
	frame, err := compiler.Compile(base + "schemas/frame.json")
	if err != nil {
		t.Fatalf("contract: %v", err)
	}
	return frame
}

// CheckFrame checks a frame against its schema.
func (c *Contract) CheckFrame(t testing.TB, frame []byte) {
	t.Helper()
	if err := c.Frame(frame); err != nil {
		t.Errorf("contract: frame %s: %v", frame, err)
	}
}

// Frame returns an error for a frame that violates its schema.
func (c *Contract) Frame(frame []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(frame))
	if err != nil {
		return err
	}
	return c.frame.Validate(value)
}
