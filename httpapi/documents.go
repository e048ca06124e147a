package httpapi

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed/httpapi/contract"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// contractFiles says at which URL a file of the contract is served, and as what.
var contractFiles = map[string]struct{ file, mediaType string }{
	"/openapi.yaml":  {"openapi.yaml", "application/yaml"},
	"/openapi.json":  {"openapi.json", request.TypeJSON},
	"/asyncapi.yaml": {"asyncapi.yaml", "application/yaml"},
	"/docs/api":      {"docs.html", "text/html; charset=utf-8"},
	"/docs/api.css":  {"docs.css", "text/css; charset=utf-8"},
}

// contractRoutes adds the URLs of the contract.
func contractRoutes(e *echo.Echo) error {
	for path, served := range contractFiles {
		body, err := contract.Files.ReadFile(served.file)
		if err != nil {
			return err
		}
		e.Match(getOrHead, path, func(c echo.Context) error {
			header := c.Response().Header()
			header.Set("Cache-Control", "no-cache")
			header.Set("X-Content-Type-Options", "nosniff")
			header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			return c.Blob(http.StatusOK, served.mediaType, body)
		})
	}
	e.Match(getOrHead, "/schemas/:name", handleSchema)
	return nil
}

// handleSchema answers with the JSON Schema of a frame.
func handleSchema(c echo.Context) error {
	name := c.Param("name")
	body, err := contract.Files.ReadFile("schemas/" + name)
	if err != nil || strings.Contains(name, "/") {
		return request.ErrNotFound
	}
	c.Response().Header().Set("Cache-Control", "no-cache")
	return c.Blob(http.StatusOK, "application/schema+json", body)
}
