// Package contract holds the API's contract as the server publishes it: REST as
// OpenAPI, the feeds as AsyncAPI, the frames as JSON Schemas, and two forms that are
// generated from the OpenAPI document: JSON, and a page for people.
package contract

import "embed"

// Files are openapi.yaml, openapi.json, asyncapi.yaml, schemas/*.json, docs.html and
// the style sheet docs.css.
//
//go:generate go run ./generate
//go:embed *.yaml *.json docs.html docs.css schemas/*.json
var Files embed.FS
