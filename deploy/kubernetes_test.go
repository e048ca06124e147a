package deploy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/taskfeed/taskfeed/lab/doctest"
)

// manifests returns the objects of deploy/kubernetes by kind and name.
func manifests(t *testing.T) map[string]object {
	t.Helper()
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]object)
	for _, file := range files {
		decoder := yaml.NewDecoder(strings.NewReader(doctest.Read(t, "deploy/"+filepath.ToSlash(file))))
		for {
			var made object
			if err := decoder.Decode(&made); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatalf("%s: %v", file, err)
				}
				break
			}
			found[fmt.Sprint(made["kind"], " ", at(made, "metadata.name"))] = made
		}
	}
	return found
}

func TestManifests(t *testing.T) {
	t.Parallel()
	found := manifests(t)
	want := []string{"ConfigMap taskfeed-nats", "Deployment taskfeed-core", "Deployment taskfeed-gateway", "HorizontalPodAutoscaler taskfeed-gateway", "Ingress taskfeed",
		"PodDisruptionBudget taskfeed-core", "PodDisruptionBudget taskfeed-gateway", "PodDisruptionBudget taskfeed-nats",
		"Service taskfeed-core", "Service taskfeed-gateway", "Service taskfeed-nats", "StatefulSet taskfeed-nats"}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Fatalf("deploy/kubernetes: got %v, want %v", got, want)
	}
	for name, kind := range map[string]string{"taskfeed-core": "Deployment", "taskfeed-gateway": "Deployment", "taskfeed-nats": "StatefulSet"} {
		pod, _ := at(found[kind+" "+name], "spec.template.metadata.labels").(object)
		for what, path := range map[string]string{kind + " ": "spec.selector.matchLabels", "Service ": "spec.selector", "PodDisruptionBudget ": "spec.selector.matchLabels"} {
			if got, _ := at(found[what+name], path).(object); len(got) == 0 || !maps.Equal(got, pod) {
				t.Errorf("%s%s selects %v, want %v", what, name, got, pod)
			}
		}
	}
}

// Cores and gateways have settings that exist, files that Secrets bring, and the image of
// this version.
func TestManifestsOfServers(t *testing.T) {
	t.Parallel()
	found := manifests(t)
	version := at(parse(t, "Chart.yaml", doctest.Read(t, chart+"/Chart.yaml")), "appVersion")
	for name, command := range map[string]string{"core": "serve", "gateway": "gateway"} {
		pod := at(found["Deployment taskfeed-"+name], "spec.template.spec")
		env := environment(pod)
		for variable, value := range env {
			wantSetting(t, "deploy/kubernetes", variable)
			if file, ok := strings.CutPrefix(value, "/run/secrets/taskfeed/"); ok && !slices.Contains(secretFiles(pod), file) {
				t.Errorf("%s: %s: got the file %s, want one that a Secret brings", name, variable, file)
			}
		}
		if env["TASKFEED_ENGINE_USER"] != name || (env["DATABASE_URL_FILE"] != "") != (name == "core") {
			t.Errorf("%s: got the user %s of NATS and the database %q, want its own user, and a database for cores alone", name, env["TASKFEED_ENGINE_USER"], env["DATABASE_URL_FILE"])
		}
		for url := range strings.SplitSeq(env["TASKFEED_ENGINE_URL"], ",") {
			wantNATS(t, found, strings.TrimPrefix(url, "nats://"), "client")
		}
		if got, want := at(pod, "containers.0.image"), fmt.Sprint("ghcr.io/taskfeed/taskfeed:", version); got != want {
			t.Errorf("%s: image: got %v, want %s", name, got, want)
		}
		if got := at(pod, "containers.0.args.0"); got != command {
			t.Errorf("%s: args: got %v, want %s", name, got, command)
		}
		if got := at(pod, "terminationGracePeriodSeconds"); got.(int) <= 5+10+int(closing.Seconds()) {
			t.Errorf("%s: terminationGracePeriodSeconds: got %v, want more than a shutdown may take", name, got)
		}
	}
}

// wantNATS checks that a host and port are those of one of the NATS servers.
func wantNATS(t *testing.T, found map[string]object, address, port string) {
	t.Helper()
	set := found["StatefulSet taskfeed-nats"]
	service := at(set, "spec.serviceName")
	ports, _ := at(set, "spec.template.spec.containers.0.ports").([]any)
	for i := range at(set, "spec.replicas").(int) {
		for _, p := range ports {
			if at(p, "name") == port && address == fmt.Sprintf("%v-%d.%v:%v", at(set, "metadata.name"), i, service, at(p, "containerPort")) {
				return
			}
		}
	}
	t.Errorf("%s: got an address that no NATS server has, want one", address)
}

// The NATS servers know each other, and their users have the permissions that the guide
// says and tests try.
func TestManifestsOfNATS(t *testing.T) {
	t.Parallel()
	found := manifests(t)
	data, _ := at(found["ConfigMap taskfeed-nats"], "data").(object)
	conf := fmt.Sprint(data["nats.conf"])
	_, documented, _ := strings.Cut(doctest.Section(t, "docs/SCALING.md", "Set up"), "\nauthorization {")
	documented, _, _ = strings.Cut(documented, "```")
	if documented == "" || !strings.Contains(conf, "authorization {"+strings.TrimRight(documented, "\n")) {
		t.Errorf("nats.conf: got\n%swant the permissions of docs/SCALING.md:%s", conf, documented)
	}
	routes := doctest.Submatches(`nats-route://([\w.:-]+)`, conf)
	if len(routes) != at(found["StatefulSet taskfeed-nats"], "spec.replicas") {
		t.Errorf("routes: got %v, want one for each server", routes)
	}
	for _, route := range routes {
		wantNATS(t, found, route, "cluster")
	}
	env, _ := at(found["StatefulSet taskfeed-nats"], "spec.template.spec.containers.0.env").([]any)
	for _, variable := range doctest.Submatches(`\$(\w+)`, conf) {
		if !slices.ContainsFunc(env, func(e any) bool { return at(e, "name") == variable }) {
			t.Errorf("nats.conf uses $%s: got no such variable in the StatefulSet, want one", variable)
		}
	}
}

// What users connect to leads to gateways, the rest to cores, and nothing to health and
// metrics.
func TestManifestsOfIngress(t *testing.T) {
	t.Parallel()
	found := manifests(t)
	paths, _ := at(found["Ingress taskfeed"], "spec.rules.0.http.paths").([]any)
	to := make(map[string]string)
	for _, p := range paths {
		service := fmt.Sprint(at(p, "backend.service.name"))
		if found["Service "+service] == nil {
			t.Errorf("%v leads to %s: got no such Service, want one", at(p, "path"), service)
		}
		to[fmt.Sprint(at(p, "pathType"), " ", at(p, "path"))] = service
	}
	for path, want := range map[string]string{"Prefix /ws": "taskfeed-gateway", "Exact /v1/events/stream": "taskfeed-gateway", "Prefix /v1": "taskfeed-core", "Prefix /": ""} {
		if to[path] != want {
			t.Errorf("%s leads to %q, want %q", path, to[path], want)
		}
	}
}
