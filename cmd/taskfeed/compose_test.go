package main

import (
	"encoding/json"
	"net/url"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/lab/doctest"
)

// The compose file and the Dockerfile need an engine to run. These tests check what can
// be checked without one.

// top is the root of the tree, relative to this package.
const top = "../.."

// composeService is a service of docker-compose.yml. Fields that are not here
// are refused, so that everything in the file is checked.
type composeService struct {
	Image       string
	Build       string
	Command     []string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck struct {
		Test        []string
		Interval    time.Duration
		Timeout     time.Duration
		StartPeriod time.Duration `yaml:"start_period"`
		Retries     int
	}
	StopGracePeriod time.Duration `yaml:"stop_grace_period"`
	ReadOnly        bool          `yaml:"read_only"`
	Restart         string
}

type composeFile struct {
	Services map[string]composeService
	Volumes  map[string]any
}

// readCompose parses the file with its variables filled in as by this shell.
func readCompose(t *testing.T, environ map[string]string) composeFile {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(interpolate(t, doctest.Read(t, "docker-compose.yml"), environ)))
	decoder.KnownFields(true)
	var file composeFile
	if err := decoder.Decode(&file); err != nil {
		t.Fatalf("parse docker-compose.yml: %v", err)
	}
	return file
}

var composeVariable = regexp.MustCompile(`\$\{(\w+)(?::([-?])([^}]*))?\}`)

// interpolate fills in ${NAME}, ${NAME:-default} and ${NAME:?message}.
func interpolate(t *testing.T, text string, environ map[string]string) string {
	t.Helper()
	return composeVariable.ReplaceAllStringFunc(text, func(s string) string {
		m := composeVariable.FindStringSubmatch(s)
		value := environ[m[1]]
		if value == "" && m[2] != "-" {
			t.Fatalf("docker-compose.yml needs the variable %s, and the test does not set it", m[1])
		}
		if value == "" {
			value = m[3]
		}
		return value
	})
}

func compose(t *testing.T) (postgres, taskfeed composeService) {
	t.Helper()
	file := readCompose(t, map[string]string{"TASKFEED_JWT_SECRET": testSecret})
	for name, service := range file.Services {
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, ok := file.Volumes[source]; !ok {
				t.Errorf("service %s: got volume %q, want one that the file declares", name, source)
			}
		}
	}
	return file.Services["postgres"], file.Services["taskfeed"]
}

func TestComposeSettings(t *testing.T) {
	t.Parallel()
	_, service := compose(t)
	var cfg config
	ss := newSettings(cfg.serveSettings())
	known := make(map[string]bool)
	for _, s := range ss.list {
		known[s.env], known[s.env+"_FILE"] = true, true
	}
	for name := range service.Environment {
		if !known[name] {
			t.Errorf("docker-compose.yml sets %s: got a variable that the configuration does not know, want one of serve's settings", name)
		}
	}
	if err := ss.read(func(name string) string { return service.Environment[name] }); err != nil {
		t.Errorf("values of docker-compose.yml: got %v, want none refused", err)
	}
	if err := cfg.finish(); err != nil {
		t.Errorf("configuration of docker-compose.yml: got %v, want none refused", err)
	}
	// The last connections are cut CloseTimeout and a second after the drain.
	if got, least := service.StopGracePeriod, cfg.http.Drain+cfg.http.DrainDelay+6*time.Second; got < least {
		t.Errorf("stop_grace_period: got %v, want at least %v, for the drain and what follows it", got, least)
	}
}

func TestComposeDatabase(t *testing.T) {
	t.Parallel()
	postgres, taskfeed := compose(t)
	u, err := url.Parse(taskfeed.Environment["DATABASE_URL"])
	if err != nil {
		t.Fatalf("DATABASE_URL: %v", err)
	}
	password, _ := u.User.Password()
	got := []string{u.Hostname(), u.Port(), u.User.Username(), password, strings.TrimPrefix(u.Path, "/")}
	env := postgres.Environment
	want := []string{"postgres", "5432", env["POSTGRES_USER"], env["POSTGRES_PASSWORD"], env["POSTGRES_DB"]}
	if !slices.Equal(got, want) {
		t.Errorf("host, port, user, password and database of DATABASE_URL: got %q, want %q", got, want)
	}
	if got := taskfeed.DependsOn["postgres"].Condition; got != "service_healthy" || len(postgres.Healthcheck.Test) == 0 {
		t.Errorf("condition on postgres: got %q with the healthcheck %q, want service_healthy and a healthcheck", got, postgres.Healthcheck.Test)
	}
}

func TestComposeServer(t *testing.T) {
	t.Parallel()
	_, service := compose(t)
	binary := dockerfile(t)["ENTRYPOINT"][0]
	wantCommand(t, "command", append([]string{binary}, service.Command...), binary)
	wantCommand(t, "healthcheck", service.Healthcheck.Test[1:], binary)
	port := service.Environment["PORT"]
	if want := []string{"127.0.0.1:" + port + ":" + port}; !slices.Equal(service.Ports, want) {
		t.Errorf("ports: got %q, want %q: a server without TLS stays on this machine", service.Ports, want)
	}
}

// wantCommand checks that a command runs our binary with a subcommand that exists.
func wantCommand(t *testing.T, what string, command []string, binary string) {
	t.Helper()
	if len(command) < 2 || command[0] != binary {
		t.Fatalf("%s: got %q, want %s and a subcommand", what, command, binary)
	}
	found, rest, err := rootCommand(&cli.Invocation{}).Find(command[1:])
	if err != nil || found.Name() != command[1] || len(rest) > 0 {
		t.Errorf("%s: got %q, want a subcommand of taskfeed", what, command)
	}
}

// dockerfile returns the arguments of each instruction that the last stage has once,
// parsed if they are in exec form, and under FROM those of all stages.
func dockerfile(t *testing.T) map[string][]string {
	t.Helper()
	instructions := make(map[string][]string)
	for line := range strings.Lines(doctest.Read(t, "Dockerfile")) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		args := []string{rest}
		if i := strings.Index(rest, "["); i >= 0 && name != "RUN" {
			if err := json.Unmarshal([]byte(rest[i:]), &args); err != nil {
				t.Fatalf("Dockerfile: %s: %v", line, err)
			}
		}
		if name == "FROM" || name == "RUN" {
			args = append(instructions[name], rest)
		}
		instructions[name] = args
	}
	return instructions
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	file := dockerfile(t)
	binary := file["ENTRYPOINT"][0]
	wantCommand(t, "CMD", append([]string{binary}, file["CMD"]...), binary)
	wantCommand(t, "HEALTHCHECK", file["HEALTHCHECK"], binary)
	if got, want := file["EXPOSE"][0], defaultOf(t, "PORT"); got != want {
		t.Errorf("EXPOSE: got %s, want the default port %s", got, want)
	}
	if got := file["USER"][0]; got == "" || strings.HasPrefix(got, "root") || strings.HasPrefix(got, "0") {
		t.Errorf("USER: got %q, want one that is not root", got)
	}
	build := file["RUN"][len(file["RUN"])-1]
	_, output, _ := strings.Cut(build, " -o ")
	output, pkg, _ := strings.Cut(output, " ")
	if want := "--from=build " + output + " " + binary; file["COPY"][0] != want {
		t.Errorf("COPY of the last stage: got %q, want %q", file["COPY"][0], want)
	}
	if !strings.Contains(build, "CGO_ENABLED=0") {
		t.Errorf("build command: got %q, want CGO_ENABLED=0, for the image has no C library", build)
	}
	wantBuildable(t, pkg)
	if _, goVersion, _ := strings.Cut(doctest.Read(t, "go.mod"), "\ngo "); !strings.HasPrefix(goVersion, goImage(t, file)+".") {
		t.Errorf("image of the build stage: got Go %s, want the version that go.mod asks for", goImage(t, file))
	}
}

func goImage(t *testing.T, file map[string][]string) string {
	t.Helper()
	image, ok := strings.CutPrefix(file["FROM"][0], "golang:")
	if !ok {
		t.Fatalf("first FROM: got %q, want a golang image", file["FROM"][0])
	}
	version, _, _ := strings.Cut(image, " ")
	return version
}

func defaultOf(t *testing.T, env string) string {
	t.Helper()
	var cfg config
	for _, s := range cfg.serveSettings() {
		if s.env == env {
			return s.byDef
		}
	}
	t.Fatalf("there is no setting %s", env)
	return ""
}

// wantBuildable checks that the package is a command and that .dockerignore excludes no
// file that its build reads.
func wantBuildable(t *testing.T, pkg string) {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f",
		`{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{.Name}}{{range .GoFiles}} {{$d}}/{{.}}{{end}}{{range .EmbedFiles}} {{$d}}/{{.}}{{end}}{{"\n"}}{{end}}{{end}}`, pkg)
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	root, err := filepath.Abs(top)
	if err != nil {
		t.Fatalf("find the top of the tree: %v", err)
	}
	packages := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := packages[len(packages)-1]; !strings.HasPrefix(last, "main ") {
		t.Errorf("package %s of the Dockerfile: got %q, want a command", pkg, last)
	}
	var ignored []string
	for line := range strings.Lines(doctest.Read(t, ".dockerignore")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			ignored = append(ignored, line)
		}
	}
	for _, p := range packages {
		for _, file := range strings.Fields(p)[1:] {
			name, err := filepath.Rel(root, file)
			if err != nil || ignores(ignored, filepath.ToSlash(name)) {
				t.Errorf("%s: got it left out by .dockerignore, want it in, for the build reads it", name)
			}
		}
	}
}

// ignores reports whether a pattern of .dockerignore matches the file or a
// directory above it.
func ignores(patterns []string, name string) bool {
	for dir := name; dir != "."; dir = path.Dir(dir) {
		for _, pattern := range patterns {
			subject := dir
			if rest, ok := strings.CutPrefix(pattern, "**/"); ok {
				pattern, subject = rest, path.Base(dir)
			}
			if ok, _ := path.Match(pattern, subject); ok {
				return true
			}
		}
	}
	return false
}

func TestIgnores(t *testing.T) {
	t.Parallel()
	patterns := []string{"docs", "*.md", "**/testdata", "**/*_test.go"}
	for name, want := range map[string]bool{
		"docs/PROTOCOL.md": true, "README.md": true, "client/README.md": false, "hub/hub.go": false,
		"hub/hub_test.go": true, "a/testdata/b/c.sql": true, "web/docs/x.go": false,
	} {
		if got := ignores(patterns, name); got != want {
			t.Errorf("ignores %s: got %t, want %t", name, got, want)
		}
	}
}
