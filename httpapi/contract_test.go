package httpapi

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/taskfeed/taskfeed/httpapi/contract"
	"github.com/taskfeed/taskfeed/lab/contracttest"
)

var (
	loadContract   sync.Once
	loadedContract *contracttest.Contract
)

// theContract is loaded once: every answer of every test is checked against it.
func theContract(t testing.TB) *contracttest.Contract {
	t.Helper()
	loadContract.Do(func() { loadedContract = contracttest.Load(t, contract.Files) })
	if loadedContract == nil {
		t.Fatal("the contract could not be loaded")
	}
	return loadedContract
}

var pathParameter = regexp.MustCompile(`:(\w+)`)

// TestContractNamesEveryRoute proves that the OpenAPI document lists exactly the
// routes that exist, except the pages for browsers.
func TestContractNamesEveryRoute(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{deps: Deps{
		History: &fakeHistory{}, Commands: &fakeCommands{}, Sources: fakeSources{}, Marks: &fakeMarks{}, Clients: &fakeClients{}, Messages: &memInbox{},
	}})
	var routed, documented []string
	for _, r := range f.handler.Routes() {
		if r.Method != http.MethodHead && r.Path != "/docs/api.css" {
			routed = append(routed, r.Method+" "+pathParameter.ReplaceAllString(r.Path, "{$1}"))
		}
	}
	for path, item := range theContract(t).Doc.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(routed)
	slices.Sort(documented)
	if !slices.Equal(routed, documented) {
		t.Errorf("routes %q\ndocumented %q\nwant them to be the same", routed, documented)
	}
}

func TestContractIsServed(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	for path, want := range map[string]string{
		"/openapi.yaml": "application/yaml", "/asyncapi.yaml": "application/yaml", "/schemas/frame.json": "application/schema+json",
	} {
		resp, body := f.get(path)
		file, err := contract.Files.ReadFile(path[1:])
		if err != nil || body != string(file) || resp.Header.Get("Content-Type") != want {
			t.Errorf("%s: %s, %d bytes (%v); want the file as %s", path, resp.Header.Get("Content-Type"), len(body), err, want)
		}
	}
	for _, path := range []string{"/schemas/nothing.json", "/schemas/", "/schemas/..%2fopenapi.yaml", "/schemas/../openapi.go"} {
		if resp, _ := f.get(path); resp.StatusCode != 404 {
			t.Errorf("%s: %d, want 404", path, resp.StatusCode)
		}
	}
	_, asJSON := f.get("/openapi.json")
	_, asYAML := f.get("/openapi.yaml")
	var fromJSON, fromYAML any
	if err := json.Unmarshal([]byte(asJSON), &fromJSON); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	if err := yaml.Unmarshal([]byte(asYAML), &fromYAML); err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	same, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(same, &fromYAML); err != nil || !reflect.DeepEqual(fromJSON, fromYAML) {
		t.Errorf("openapi.json says something else than openapi.yaml (%v)", err)
	}
	if order := strings.Index(asJSON, `"openapi"`) < strings.Index(asJSON, `"paths"`); !order || !strings.HasPrefix(asJSON, `{"openapi":"3.1.0"`) {
		t.Errorf("openapi.json begins with %.80s, want the order of the yaml", asJSON)
	}
}

func TestDocsPage(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	resp, page := f.get("/docs/api")
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/html; charset=utf-8" {
		t.Fatalf("/docs/api: %d %s, want an HTML page", resp.StatusCode, got)
	}
	if got := resp.Header.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") {
		t.Errorf("policy %q, want nothing from elsewhere", got)
	}
	for _, unwanted := range []string{"<script", "http://", "//cdn", "style=", "ZgotmplZ", "<no value>", "onclick"} {
		if strings.Contains(page, unwanted) {
			t.Errorf("the page holds %s", unwanted)
		}
	}
	for path, item := range theContract(t).Doc.Paths.Map() {
		for method, op := range item.Operations() {
			if !strings.Contains(page, `<article id="`+op.OperationID+`"`) || !strings.Contains(page, ">"+path+"<") || len(op.Tags) != 1 {
				t.Errorf("the page does not show %s %s", method, path)
			}
		}
	}
	ids := make(map[string]int)
	for _, match := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[match[1]]++; ids[match[1]] > 1 || strings.Contains(match[1], " ") {
			t.Errorf("the id %q stands twice or is none", match[1])
		}
	}
	for _, match := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if fragment, ok := strings.CutPrefix(match[1], "#"); ok {
			if ids[fragment] == 0 {
				t.Errorf("the link to #%s leads nowhere", fragment)
			}
		} else if resp, _ := f.get(path.Join("/docs", match[1])); resp.StatusCode != 200 {
			t.Errorf("the link to %s is answered by %d", match[1], resp.StatusCode)
		}
	}
}

// TestAsyncAPI proves that the document's references lead somewhere, that it
// shows every kind of frame, and that its examples are such frames.
func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	text, err := contract.Files.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatalf("asyncapi.yaml: %v", err)
	}
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("version %v, want 3.0.0", doc["asyncapi"])
	}
	shown := checkRefs(t, doc, doc)
	for _, name := range must(fs.Glob(contract.Files, "schemas/*.json")) {
		if !slices.Contains(shown, name) && name != "schemas/frame.json" {
			t.Errorf("no message shows %s", name)
		}
	}
	messages := doc["components"].(map[string]any)["messages"].(map[string]any)
	for name, message := range messages {
		examples, _ := message.(map[string]any)["examples"].([]any)
		for _, example := range examples {
			payload := must(json.Marshal(example.(map[string]any)["payload"]))
			if err := theContract(t).Frame(payload); err != nil && !slices.Contains([]string{"auth", "read", "message"}, name) { // these a client sends
				t.Errorf("the example of %s: %v", name, err)
			}
		}
	}
}

// checkRefs checks every reference below node and returns those that name files.
func checkRefs(t *testing.T, doc, node any) (files []string) {
	t.Helper()
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			files = append(files, checkRefs(t, doc, item)...)
		}
	case map[string]any:
		for key, value := range n {
			ref, ok := value.(string)
			if key != "$ref" || !ok {
				files = append(files, checkRefs(t, doc, value)...)
				continue
			}
			pointer, local := strings.CutPrefix(ref, "#/")
			if !local {
				files = append(files, ref)
				if _, err := fs.Stat(contract.Files, ref); err != nil {
					t.Errorf("%s leads nowhere", ref)
				}
				continue
			}
			target := doc
			for part := range strings.SplitSeq(pointer, "/") {
				target = target.(map[string]any)[part]
			}
			if target == nil {
				t.Errorf("%s leads nowhere", ref)
			}
		}
	}
	return files
}

func TestFrameSchemas(t *testing.T) {
	t.Parallel()
	const task = `"id":7,"timestamp":"2026-11-22T10:00:00.000000Z","task_id":"t","version":1`
	for frame, good := range map[string]bool{
		`{` + task + `,"type":"task_queued","progress":0}`:                                           true,
		`{` + task + `,"type":"task_queued"}`:                                                        false,
		`{` + task + `,"type":"task_completed","progress":0,"result":null}`:                          true,
		`{` + task + `,"type":"task_completed","progress":0}`:                                        false,
		`{` + task + `,"type":"task_completed","progress":0,"result":null,"truncated":["result"]}`:   true,
		`{` + task + `,"type":"task_failed","progress":100,"error":"disk full"}`:                     true,
		`{` + task + `,"type":"task_failed","progress":100}`:                                         false,
		`{` + task + `,"type":"task_progress","progress":1}`:                                         true,
		`{` + task + `,"type":"task_progress","progress":101}`:                                       false,
		`{` + task + `,"type":"task_deleted"}`:                                                       true,
		`{` + task + `,"type":"task_deleted","result":1}`:                                            false,
		`{` + task + `,"type":"task_stalled","since":"2026-11-22T10:00:00.123456Z","progress":40}`:   true,
		`{` + task + `,"type":"task_stalled","progress":40}`:                                         false,
		`{` + task + `,"type":"task_unheard_of","progress":0}`:                                       false,
		`{"id":7,"timestamp":"2026-11-22T10:00:00.000000Z","type":"mail","from":"bob","progress":1}`: true,
		`{"id":0,"timestamp":"2026-11-22T10:00:00.000000Z","type":"mail"}`:                           false,
		`{"id":7,"timestamp":"2026-11-22T10:00:00Z","type":"mail"}`:                                  false,
		`{"id":9007199254740992,"timestamp":"2026-11-22T10:00:00.000000Z","type":"mail"}`:            false,
		`{"type":"feed_live","cursor":0}`:                                                            true,
		`{"type":"feed_live","cursor":-1}`:                                                           false,
		`{"type":"feed_reset","reason":"expired","cursor":9}`:                                        true,
		`{"type":"feed_reset","reason":"bored","cursor":9}`:                                          false,
		`[]`: false,
	} {
		if err := theContract(t).Frame([]byte(frame)); (err == nil) != good {
			t.Errorf("%s: %v, want it to be good: %v", frame, err, good)
		}
	}
}
