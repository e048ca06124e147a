package request

import (
	"net/http"
	"testing"
)

func TestAcceptHeader(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": TypeJSON, "*/*": TypeJSON, "application/json": TypeJSON, "text/csv": TypeCSV, "text/*": TypeCSV,
		"application/x-ndjson, application/json;q=0.5": TypeNDJSON, "application/json;q=0.5, */*;q=0.1": TypeJSON,
		"text/csv;q=0, */*": TypeJSON, "application/json;q=0, application/*": TypeNDJSON, "TEXT/CSV": TypeCSV, "text/csv;q=0.5;x=y, nonsense/": TypeCSV,
		"image/png": "", "text/csv;q=0": "", "text/csv;q=2": "", "nonsense": "", "application/problem+json": "", "text/html, image/*": "",
	} {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		if got, err := Negotiate(r, TypeJSON, TypeNDJSON, TypeCSV); got != want || (err == nil) != (want != "") {
			t.Errorf("Accept %q: %q, %v; want %q", accept, got, err, want)
		}
	}
}
