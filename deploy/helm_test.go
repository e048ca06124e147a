package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskfeed/taskfeed/lab/doctest"
)

const chart = "deploy/helm/taskfeed"

// object is a parsed YAML mapping.
type object = map[string]any

// at returns what stands at a path such as "spec.containers.0.name", and nil for
// nothing.
func at(value any, path string) any {
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case object:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

func parse(t *testing.T, what, text string) object {
	t.Helper()
	var parsed object
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatalf("parse %s: %v\n%s", what, err, text)
	}
	return parsed
}

// render renders the chart as Helm does. It has only those of Helm's functions that the
// chart uses; TestChartByHelm compares with Helm itself.
func render(t *testing.T, changes object) (map[string]object, error) {
	t.Helper()
	names, err := filepath.Glob("helm/taskfeed/templates/*")
	if err != nil {
		t.Fatal(err)
	}
	about := parse(t, "Chart.yaml", doctest.Read(t, chart+"/Chart.yaml"))
	data := object{
		"Values":  merge(parse(t, "values.yaml", doctest.Read(t, chart+"/values.yaml")), changes),
		"Release": object{"Name": "demo", "Namespace": "feeds", "Service": "Helm"},
		"Chart":   object{"Name": about["name"], "AppVersion": about["appVersion"]},
	}
	set := template.New("").Option("missingkey=error")
	set.Funcs(chartFunctions(set))
	for _, name := range names {
		if _, err := set.New(filepath.Base(name)).Parse(doctest.Read(t, "deploy/"+filepath.ToSlash(name))); err != nil {
			t.Fatalf("parse %s: %v", name, err)
		}
	}
	found := make(map[string]object)
	for _, name := range names {
		var out strings.Builder
		if err := set.ExecuteTemplate(&out, filepath.Base(name), data); err != nil {
			return nil, err
		}
		if path.Ext(name) != ".yaml" || strings.TrimSpace(out.String()) == "" {
			continue
		}
		made := parse(t, name, out.String())
		found[called(made)] = made
	}
	return found, nil
}

// called returns the kind of an object, with "gateway " before it for those of gateways.
func called(made object) string {
	kind := fmt.Sprint(made["kind"])
	if strings.HasSuffix(fmt.Sprint(at(made, "metadata.name")), "-gateway") {
		return "gateway " + kind
	}
	return kind
}

// merge puts changes into values, mapping by mapping.
func merge(values, changes object) object {
	values = maps.Clone(values)
	for name, change := range changes {
		below, is := change.(object)
		if was, ok := values[name].(object); ok && is {
			change = merge(was, below)
		}
		values[name] = change
	}
	return values
}

func chartFunctions(set *template.Template) template.FuncMap {
	empty := func(v any) bool { return v == nil || reflect.ValueOf(v).IsZero() }
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var out strings.Builder
			err := set.ExecuteTemplate(&out, name, data)
			return out.String(), err
		},
		"toYaml": func(v any) (string, error) {
			out, err := yaml.Marshal(v)
			return strings.TrimSuffix(string(out), "\n"), err
		},
		"nindent": func(n int, text string) string {
			margin := "\n" + strings.Repeat(" ", n)
			return margin + strings.ReplaceAll(text, "\n", margin)
		},
		"dict": func(pairs ...any) object {
			made := make(object)
			for i := 0; i+1 < len(pairs); i += 2 {
				made[fmt.Sprint(pairs[i])] = pairs[i+1]
			}
			return made
		},
		"quote": func(v any) string { return strconv.Quote(fmt.Sprint(v)) },
		"default": func(otherwise, v any) any {
			if empty(v) {
				return otherwise
			}
			return v
		},
		"required": func(message string, v any) (any, error) {
			if empty(v) {
				return nil, errors.New(message)
			}
			return v, nil
		},
	}
}

// least is what has to be set, and everything is all that can be switched on.
var (
	least      = object{"database": object{"secretName": "db"}}
	everything = object{
		"database":                  object{"secretName": "db", "listenUrlKey": "direct"},
		"tokens":                    object{"secretName": "jwt"},
		"settings":                  object{"TASKFEED_RETENTION": "7d"},
		"engine":                    object{"url": "tls://nats:4222", "secretName": "nats", "caSecretName": "authority"},
		"gateway":                   object{"enabled": true, "autoscaling": object{"enabled": true}, "settings": object{"TASKFEED_RECENT_LOG": "off"}},
		"serviceMonitor":            object{"enabled": true, "labels": object{"release": "prometheus"}},
		"networkPolicy":             object{"enabled": true, "clients": []any{object{"podSelector": object{}}}},
		"service":                   object{"annotations": object{"a": "b"}},
		"serviceAccount":            object{"annotations": object{"a": "b"}},
		"imagePullSecrets":          []any{object{"name": "registry"}},
		"podAnnotations":            object{"a": "b"},
		"podLabels":                 object{"team": "feeds"},
		"nodeSelector":              object{"disk": "fast"},
		"tolerations":               []any{object{"operator": "Exists"}},
		"affinity":                  object{"podAntiAffinity": object{}},
		"topologySpreadConstraints": []any{object{"maxSkew": 2}},
		"extraVolumes":              []any{object{"name": "keys", "emptyDir": object{}}},
		"extraVolumeMounts":         []any{object{"name": "keys", "mountPath": "/keys"}},
	}
)

func rendered(t *testing.T, changes object) map[string]object {
	t.Helper()
	found, err := render(t, changes)
	if err != nil {
		t.Fatalf("render the chart: %v", err)
	}
	return found
}

func TestChartKinds(t *testing.T) {
	t.Parallel()
	always := []string{"Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}
	full := append([]string{"NetworkPolicy", "ServiceMonitor", "gateway Deployment", "gateway HorizontalPodAutoscaler", "gateway NetworkPolicy", "gateway PodDisruptionBudget",
		"gateway Service", "gateway ServiceMonitor"}, always...)
	for what, tt := range map[string]struct {
		values object
		want   []string
	}{
		"the least":  {least, always},
		"everything": {everything, full},
		"fixed gateways": {object{"database": least["database"], "engine": object{"url": "nats://a"}, "gateway": object{"enabled": true}},
			append([]string{"gateway Deployment", "gateway PodDisruptionBudget", "gateway Service"}, always...)},
	} {
		found := rendered(t, tt.values)
		slices.Sort(tt.want)
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", what, got, tt.want)
		}
		for kind, made := range found {
			if got := at(made, "metadata.namespace"); got != "feeds" {
				t.Errorf("%s: namespace of the %s: got %v, want the release's", what, kind, got)
			}
		}
	}
	if _, err := render(t, object{}); err == nil || !strings.Contains(err.Error(), "database.secretName") {
		t.Errorf("without a database: got %v, want an error that names database.secretName", err)
	}
	if _, err := render(t, object{"database": least["database"], "gateway": object{"enabled": true}}); err == nil || !strings.Contains(err.Error(), "engine.url") {
		t.Errorf("gateways without NATS: got %v, want an error that names engine.url", err)
	}
}

// Every variable of the container is a setting, and every file is there.
func TestChartSettings(t *testing.T) {
	t.Parallel()
	for _, pod := range []any{chartPod(t, least, "Deployment"), chartPod(t, everything, "Deployment"), chartPod(t, everything, "gateway Deployment")} {
		env := environment(pod)
		for name, value := range env {
			wantSetting(t, chart, name)
			if file, ok := strings.CutPrefix(value, "/run/secrets/taskfeed/"); ok && !slices.Contains(secretFiles(pod), file) {
				t.Errorf("%s: got the file %s, want one that a Secret brings", name, file)
			}
		}
		if got, want := env["PORT"], fmt.Sprint(at(pod, "containers.0.ports.0.containerPort")); got != want {
			t.Errorf("PORT: got %s, want the container's port %s", got, want)
		}
		if got := at(pod, "enableServiceLinks"); got != false {
			t.Errorf("enableServiceLinks: got %v, want false: a Service called taskfeed would set TASKFEED_PORT", got)
		}
	}
	engine := []string{"TASKFEED_ENGINE_URL", "TASKFEED_ENGINE_PREFIX", "TASKFEED_ENGINE_USER", "TASKFEED_ENGINE_PASSWORD_FILE", "TASKFEED_ENGINE_CA_FILE", "TASKFEED_JWT_SECRET_FILE", "TASKFEED_DRAIN"}
	for kind, names := range map[string][]string{
		"Deployment":         append([]string{"DATABASE_URL_FILE", "TASKFEED_LISTEN_DATABASE_URL_FILE", "TASKFEED_RETENTION"}, engine...),
		"gateway Deployment": append([]string{"TASKFEED_RECENT_LOG"}, engine...),
	} {
		env := environment(chartPod(t, everything, kind))
		for _, name := range names {
			if env[name] == "" {
				t.Errorf("%s of the chart with every option on: got no %s, want one", kind, name)
			}
		}
	}
	core, gateway := environment(chartPod(t, everything, "Deployment")), environment(chartPod(t, everything, "gateway Deployment"))
	if core["TASKFEED_ENGINE_USER"] != "core" || gateway["TASKFEED_ENGINE_USER"] != "gateway" || gateway["DATABASE_URL_FILE"] != "" {
		t.Errorf("users of NATS: got %s and %s, want core and gateway, and no database for gateways", core["TASKFEED_ENGINE_USER"], gateway["TASKFEED_ENGINE_USER"])
	}
}

// chartPod returns the specification of the pods of a Deployment.
func chartPod(t *testing.T, values object, kind string) any {
	t.Helper()
	return at(rendered(t, values)[kind], "spec.template.spec")
}

func environment(pod any) map[string]string {
	env := make(map[string]string)
	list, _ := at(pod, "containers.0.env").([]any)
	for _, entry := range list {
		env[fmt.Sprint(at(entry, "name"))] = fmt.Sprint(at(entry, "value"))
	}
	return env
}

func secretFiles(pod any) (files []string) {
	sources, _ := at(pod, "volumes.0.projected.sources").([]any)
	for _, source := range sources {
		items, _ := at(source, "secret.items").([]any)
		for _, item := range items {
			files = append(files, fmt.Sprint(at(item, "path")))
		}
	}
	return files
}

// Kubernetes must not kill a server that still drains.
func TestChartShutdown(t *testing.T) {
	t.Parallel()
	pod := at(rendered(t, least)["Deployment"], "spec.template.spec")
	number := func(path string) time.Duration {
		n, ok := at(pod, path).(int)
		if !ok {
			t.Fatalf("%s: got %v, want a number", path, at(pod, path))
		}
		return time.Duration(n)
	}
	shutdown := number("containers.0.lifecycle.preStop.sleep.seconds")*time.Second + closing + span(t, settings(t)["TASKFEED_DRAIN_DELAY"]) +
		span(t, environment(pod)["TASKFEED_DRAIN"])
	if got := number("terminationGracePeriodSeconds") * time.Second; got <= shutdown {
		t.Errorf("terminationGracePeriodSeconds: got %v, want more than the %v that a shutdown may take", got, shutdown)
	}
	start := number("containers.0.startupProbe.periodSeconds") * number("containers.0.startupProbe.failureThreshold") * time.Second
	if wait := span(t, settings(t)["TASKFEED_START_WAIT"]); start <= wait {
		t.Errorf("startup probe: got %v, want more than the %v that a server waits for its database", start, wait)
	}
}

func TestChartProbes(t *testing.T) {
	t.Parallel()
	pod := at(rendered(t, least)["Deployment"], "spec.template.spec")
	health := doctest.Section(t, "docs/OPERATIONS.md", "Health")
	for probe, want := range map[string]string{"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
		got := at(pod, "containers.0."+probe+".httpGet.path")
		if got != want || !strings.Contains(health, "`"+want+"`") {
			t.Errorf("%s: got the path %v, want %s, which docs/OPERATIONS.md names", probe, got, want)
		}
		if got, want := at(pod, "containers.0."+probe+".httpGet.port"), at(pod, "containers.0.ports.0.name"); got != want {
			t.Errorf("%s: got the port %v, want %v", probe, got, want)
		}
	}
}

// What selects pods selects those of the Deployment, and the monitor the Service.
func TestChartSelectors(t *testing.T) {
	t.Parallel()
	found := rendered(t, everything)
	for _, whose := range []string{"", "gateway "} {
		wantSelectors(t, found, whose)
	}
	cores, _ := at(found["Service"], "spec.selector").(object)
	gateways, _ := at(found["gateway Service"], "spec.selector").(object)
	if maps.Equal(cores, gateways) {
		t.Errorf("Services: got the same selector %v for cores and gateways, want two", cores)
	}
	if got, want := at(found["gateway HorizontalPodAutoscaler"], "spec.scaleTargetRef.name"), at(found["gateway Deployment"], "metadata.name"); got != want {
		t.Errorf("autoscaler: got the target %v, want %v", got, want)
	}
	if got := at(found["gateway Deployment"], "spec.replicas"); got != nil {
		t.Errorf("replicas beside an autoscaler: got %v, want none", got)
	}
}

// wantSelectors checks the objects of cores, or with a word before their kind of gateways.
func wantSelectors(t *testing.T, found map[string]object, whose string) {
	t.Helper()
	pod, _ := at(found[whose+"Deployment"], "spec.template.metadata.labels").(object)
	service, _ := at(found[whose+"Service"], "metadata.labels").(object)
	for _, tt := range []struct {
		kind, path string
		labels     object
	}{
		{"Deployment", "spec.selector.matchLabels", pod},
		{"Service", "spec.selector", pod},
		{"PodDisruptionBudget", "spec.selector.matchLabels", pod},
		{"NetworkPolicy", "spec.podSelector.matchLabels", pod},
		{"ServiceMonitor", "spec.selector.matchLabels", service},
	} {
		selector, _ := at(found[whose+tt.kind], tt.path).(object)
		if len(selector) == 0 {
			t.Errorf("%s: got no selector at %s, want one", tt.kind, tt.path)
		}
		for name, value := range selector {
			if tt.labels[name] != value {
				t.Errorf("%s selects %s %v: got labels %v, want it among them", tt.kind, name, value, tt.labels)
			}
		}
	}
	port := at(found[whose+"Deployment"], "spec.template.spec.containers.0.ports.0.name")
	for kind, path := range map[string]string{"Service": "spec.ports.0.targetPort", "NetworkPolicy": "spec.ingress.0.ports.0.port", "ServiceMonitor": "spec.endpoints.0.port"} {
		if got := at(found[whose+kind], path); got != port {
			t.Errorf("%s: got the port %v, want %v", kind, got, port)
		}
	}
}

// The image is the one that the Dockerfile makes, and runs as its user.
func TestChartImage(t *testing.T) {
	t.Parallel()
	pod := at(rendered(t, least)["Deployment"], "spec.template.spec")
	about := parse(t, "Chart.yaml", doctest.Read(t, chart+"/Chart.yaml"))
	if got, want := at(pod, "containers.0.image"), fmt.Sprint("ghcr.io/taskfeed/taskfeed:", about["appVersion"]); got != want {
		t.Errorf("image: got %v, want %s", got, want)
	}
	if !strings.Contains(doctest.Read(t, "Dockerfile"), "\nUSER nonroot:nonroot\n") || at(pod, "securityContext.runAsUser") != 65532 {
		t.Errorf("user: got %v, want 65532, which is nonroot in the image", at(pod, "securityContext.runAsUser"))
	}
	if got, want := at(pod, "containers.0.args.0"), "serve"; got != want {
		t.Errorf("args: got %v, want %s", got, want)
	}
}

// Helm itself renders the same. Where there is no helm, only the tests above look.
func TestChartByHelm(t *testing.T) {
	t.Parallel()
	helm, err := exec.LookPath("helm")
	if err != nil {
		t.Skip("there is no helm on this machine")
	}
	for _, values := range []object{least, everything} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		text, err := yaml.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(helm, "lint", "--strict", "helm/taskfeed", "--values", file).CombinedOutput(); err != nil {
			t.Errorf("helm lint: %v\n%s", err, out)
		}
		out, err := exec.Command(helm, "template", "demo", "helm/taskfeed", "--namespace", "feeds", "--kube-version", "1.30.0", "--values", file).Output()
		if err != nil {
			t.Fatalf("helm template: %v", err)
		}
		got, decoder := make(map[string]object), yaml.NewDecoder(bytes.NewReader(out))
		for made := object(nil); decoder.Decode(&made) == nil; made = nil {
			got[called(made)] = made
		}
		if want := rendered(t, values); !reflect.DeepEqual(got, want) {
			t.Errorf("helm template: got\n%v\nwant\n%v", got, want)
		}
	}
}
