package deploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// alertRule is a rule of Prometheus. Fields that are not here are refused.
type alertRule struct {
	Alert       string
	Expr        string
	For         time.Duration
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alertRule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []alertRule
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(doctest.Read(t, "deploy/prometheus/alerts.yaml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatalf("parse alerts.yaml: %v", err)
	}
	var rules []alertRule
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) == 0 {
		t.Fatal("alerts.yaml: got no rules, want some")
	}
	return rules
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	known := metrics(t)
	for _, rule := range alerts(t) {
		if err := judge(rule.Expr, known); err != nil {
			t.Errorf("alert %s: %v", rule.Alert, err)
		}
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("alert %s: got severity %q, want critical or warning", rule.Alert, s)
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("alert %s: got annotations %v, want a summary and a description", rule.Alert, rule.Annotations)
		}
		for name, text := range rule.Annotations {
			if err := fill(text); err != nil {
				t.Errorf("alert %s: %s: %v", rule.Alert, name, err)
			}
		}
	}
}

// fill renders an annotation as Prometheus does.
func fill(text string) error {
	echo := func(v any) string { return fmt.Sprint(v) }
	functions := template.FuncMap{"humanize": echo, "humanizeDuration": echo, "humanizePercentage": echo}
	const variables = "{{$labels := .Labels}}{{$value := .Value}}"
	parsed, err := template.New("").Funcs(functions).Parse(variables + text)
	if err != nil {
		return err
	}
	return parsed.Execute(new(strings.Builder), map[string]any{"Labels": map[string]string{}, "Value": 1.0})
}

func TestDocumentedAlerts(t *testing.T) {
	t.Parallel()
	var documented, real []string
	for _, cells := range doctest.Rows(doctest.Section(t, "docs/OPERATIONS.md", "Alerts")) {
		documented = append(documented, cells[0]+" "+cells[1])
	}
	for _, rule := range alerts(t) {
		real = append(real, fmt.Sprintf("`%s` %s", rule.Alert, rule.Labels["severity"]))
	}
	doctest.Same(t, "alerts in docs/OPERATIONS.md", documented, real)
}

// metric is what docs/OPERATIONS.md says of one; cmd/taskfeed tests that it is so.
type metric struct {
	kind   string // counter, gauge or histogram
	labels []string
}

// metrics returns the metrics of the server, with those of Go's runtime and of the
// process that the files use.
func metrics(t *testing.T) map[string]metric {
	t.Helper()
	known := map[string]metric{
		"go_goroutines":                 {kind: "gauge"},
		"process_cpu_seconds_total":     {kind: "counter"},
		"process_max_fds":               {kind: "gauge"},
		"process_open_fds":              {kind: "gauge"},
		"process_resident_memory_bytes": {kind: "gauge"},
	}
	for _, cells := range doctest.Rows(doctest.Section(t, "docs/OPERATIONS.md", "Metrics")) {
		m := metric{kind: cells[1]}
		for _, list := range doctest.Submatches("\\((`\\w+`(?:, `\\w+`)*)", cells[2]) {
			m.labels = append(m.labels, doctest.Submatches("`(\\w+)`", list)...)
		}
		known[strings.Trim(cells[0], "`")] = m
	}
	for _, cells := range doctest.Rows(doctest.Section(t, "docs/SCALING.md", "Metrics")) { // without kinds
		m := metric{kind: "gauge", labels: doctest.Submatches("by `(\\w+)`", cells[2])}
		name := strings.Trim(cells[0], "`")
		if strings.HasSuffix(name, "_total") {
			m.kind = "counter"
		}
		known[name] = m
	}
	return known
}

// target are the labels that Prometheus gives to what it reads.
var target = []string{"namespace", "job", "instance"}

// judge parses an expression and returns what is wrong with its metrics: names and
// labels that do not exist, counters that are read without rate or increase.
func judge(expr string, known map[string]metric) (fault error) {
	parsed, err := parser.ParseExpr(expr)
	if err != nil {
		return fmt.Errorf("%s: %w", expr, err)
	}
	report := func(format string, args ...any) {
		if fault == nil {
			fault = fmt.Errorf("%s: %s", expr, fmt.Sprintf(format, args...))
		}
	}
	labels := slices.Clone(target)
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		name, histogram := strings.CutSuffix(selector.Name, "_bucket")
		m, ok := known[name]
		switch {
		case !ok || histogram != (m.kind == "histogram"):
			report("there is no metric %s", selector.Name)
		case m.kind != "gauge" && !rated(path):
			report("%s is a %s: want its rate or increase", selector.Name, m.kind)
		}
		if histogram {
			m.labels = append(m.labels, "le")
		}
		labels = append(labels, m.labels...)
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != "__name__" && !slices.Contains(slices.Concat(target, m.labels), matcher.Name) {
				report("%s has no label %s", selector.Name, matcher.Name)
			}
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if by, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range by.Grouping {
				if !slices.Contains(labels, label) {
					report("no metric has the label %s", label)
				}
			}
		}
		return nil
	})
	return fault
}

// rated reports whether a selector stands in a function that counters are made for.
func rated(path []parser.Node) bool {
	return slices.ContainsFunc(path, func(node parser.Node) bool {
		call, ok := node.(*parser.Call)
		return ok && (call.Func.Name == "rate" || call.Func.Name == "increase")
	})
}

func TestJudge(t *testing.T) {
	t.Parallel()
	known := map[string]metric{"a_total": {kind: "counter", labels: []string{"code"}}, "g": {kind: "gauge"}, "h": {kind: "histogram"}}
	for expr, want := range map[string]string{
		`g > 1`: "",
		`sum by (job, code) (rate(a_total{code="1"}[5m]))`:          "",
		`histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m])))`: "",
		`g >`:                            "parse error",
		`missing`:                        "no metric missing",
		`h`:                              "no metric h",
		`g_bucket`:                       "no metric g_bucket",
		`a_total > 1`:                    "want its rate",
		`g{code="1"}`:                    "g has no label code",
		`sum by (shard) (g)`:             "no metric has the label shard",
		`max_over_time(a_total[5m]) > 1`: "want its rate",
	} {
		if err := judge(expr, known); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("judge %s: got %v, want %q", expr, err, want)
		}
	}
}

// board is what the tests read of a dashboard.
type board struct {
	UID        string
	Panels     []panel
	Templating struct{ List []variable }
}

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr string }
}

type variable struct{ Name, Definition string }

func readBoard(t *testing.T) board {
	t.Helper()
	var b board
	if err := json.Unmarshal([]byte(doctest.Read(t, "deploy/grafana/taskfeed.json")), &b); err != nil {
		t.Fatalf("parse taskfeed.json: %v", err)
	}
	return b
}

func TestBoard(t *testing.T) {
	t.Parallel()
	known := metrics(t)
	b := readBoard(t)
	ids := make(map[int]string)
	var used strings.Builder
	for _, p := range b.Panels {
		if ids[p.ID] != "" {
			t.Errorf("panel %q: got the id of %q, want one of its own", p.Title, ids[p.ID])
		}
		ids[p.ID] = p.Title
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q: got no query, want one", p.Title)
		}
		for _, query := range p.Targets {
			// Grafana fills its own variables in before Prometheus parses.
			if err := judge(strings.ReplaceAll(query.Expr, "$__rate_interval", "5m"), known); err != nil {
				t.Errorf("panel %q: %v", p.Title, err)
			}
			used.WriteString(query.Expr + "\n")
		}
	}
	for name := range known {
		if strings.HasPrefix(name, "taskfeed_") && name != "taskfeed_metrics_users_left_off" && !strings.Contains(used.String(), name) {
			t.Errorf("no panel shows %s, want one", name)
		}
	}
}

// Every variable that a query names is one of the dashboard's, and the other way round.
func TestBoardVariables(t *testing.T) {
	t.Parallel()
	text := doctest.Read(t, "deploy/grafana/taskfeed.json")
	var declared, used []string
	for _, v := range readBoard(t).Templating.List {
		declared = append(declared, v.Name)
		if query, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			selector, _, _ := strings.Cut(query, ", ")
			if err := judge(selector, metrics(t)); err != nil {
				t.Errorf("variable %s: %v", v.Name, err)
			}
		}
	}
	for _, m := range regexp.MustCompile(`\$\{?([a-z]\w*)`).FindAllStringSubmatch(text, -1) {
		used = append(used, m[1])
	}
	slices.Sort(used)
	doctest.Same(t, "variables of taskfeed.json", declared, slices.Compact(used))
}

// No panel covers another, and none is wider than the board.
func TestBoardLayout(t *testing.T) {
	t.Parallel()
	const width = 24
	panels := readBoard(t).Panels
	for i, p := range panels {
		a := p.GridPos
		if a.X < 0 || a.W < 1 || a.H < 1 || a.X+a.W > width {
			t.Errorf("panel %q: got the place %+v, want one within %d columns", p.Title, a, width)
		}
		for _, q := range panels[:i] {
			b := q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q cover each other", p.Title, q.Title)
			}
		}
	}
}
