package httpapi

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
)

// fakeSources are attached tables.
type fakeSources struct {
	all []Source
	err error
}

func (f fakeSources) Sources(context.Context) ([]Source, error) { return f.all, f.err }

func TestSources(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f := serve(t, setup{deps: Deps{Sources: fakeSources{all: []Source{
		{Name: "exports", Table: "app.exports", Problem: "its table is gone", Remedy: "taskfeed detach exports", Errors: 3, Unmapped: 2, Unowned: 1, Unknown: []string{"paused"},
			LastError: "42703 no column", ErrorAt: &at, AttachedAt: at, Writes: 7, Mapping: json.RawMessage(`{"user": "owner_id"}`)},
		{Name: "jobs", Table: "app.jobs", OK: true, Reading: true, Unknown: []string{}, AttachedAt: at, Mapping: json.RawMessage(`{}`)}}}}})
	resp, body := f.getAs(f.adminToken(), "/v1/sources")
	want := `{"items":[{"name":"exports","table":"app.exports","ok":false,"problem":"its table is gone","remedy":"taskfeed detach exports","reading":false,` +
		`"errors":3,"unmapped":2,"unowned":1,"unmapped_values":["paused"],"last_error":"42703 no column","last_error_at":"2026-11-22T10:00:00Z",` +
		`"attached_at":"2026-11-22T10:00:00Z","writes":7,"mapping":{"user":"owner_id"}},` +
		`{"name":"jobs","table":"app.jobs","ok":true,"reading":true,"errors":0,"unmapped":0,"unowned":0,"unmapped_values":[],"attached_at":"2026-11-22T10:00:00Z","writes":0,"mapping":{}}]}` + "\n"
	if resp.StatusCode != 200 || body != want || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s\nwant %s", resp.StatusCode, body, want)
	}
	resp, body = f.getAs(f.adminToken(), "/v1/sources?name=x")
	f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "name")
	f = serve(t, setup{deps: Deps{Sources: fakeSources{}}})
	if _, body := f.getAs(f.adminToken(), "/v1/sources"); body != `{"items":[]}`+"\n" {
		t.Errorf("without attached tables: %s", body)
	}
	f = serve(t, setup{deps: Deps{Sources: fakeSources{err: &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "away"}}}})
	resp, body = f.getAs(f.adminToken(), "/v1/sources")
	f.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
}
