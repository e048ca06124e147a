package pgtest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/checkout"
)

//go:embed hostile.sql
var hostileSQL string

// called matches what looks like a call of a function.
var called = regexp.MustCompile(`\b([a-z][a-z0-9_]*)\(`)

// Hostile fills the schema public of a database with operators and functions that
// fit better than those of Postgres wherever a call in one of these texts, which
// may be whole files, is not exact. Who binds to one gets SQLSTATE TF666.
func Hostile(t testing.TB, databaseURL string, texts ...string) {
	t.Helper()
	if strings.Contains(databaseURL, hostileKind) {
		return // it is that already
	}
	if err := makeHostile(t.Context(), databaseURL, texts); err != nil {
		t.Fatalf("pgtest: make a database hostile: %v", err)
	}
}

func makeHostile(ctx context.Context, databaseURL string, texts []string) error {
	var names []string
	for _, text := range texts {
		for _, m := range called.FindAllStringSubmatch(text, -1) {
			names = append(names, "'"+m[1]+"'")
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return errors.New("no calls to be hostile to")
	}
	return exec(ctx, databaseURL, strings.ReplaceAll(hostileSQL, "{names}", fmt.Sprintf("ARRAY[%s]", strings.Join(names, ", "))))
}

// Sources returns the text of all files that match the patterns, each of which
// must match some: what Hostile is to be hostile to.
func Sources(t testing.TB, patterns ...string) []string {
	t.Helper()
	texts, err := readAll(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func readAll(patterns []string) (texts []string, err error) {
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("%s: %d files, error %w", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			texts = append(texts, string(text))
		}
	}
	return texts, nil
}

// everywhere reports whether all databases of New are hostile, to all that the
// product calls: then every statement of every test is tried against them.
func everywhere() bool { return os.Getenv("TASKFEED_TEST_HOSTILE") != "" }

// makeAllHostile makes a database hostile to all statements of the product. Tests
// find what they make themselves in a schema of their own: see [Config].
func makeAllHostile(ctx context.Context, databaseURL string) error {
	root, err := checkout.Root()
	if err != nil {
		return err
	}
	var patterns []string
	for _, place := range []string{"store/*.go", "store/history/*.go", "store/internal/*/*.go", "migrations/*.go", "migrations/*.sql", "listener/*.go", "cmd/taskfeed/*.go", "internal/dial/*.go", "internal/locks/*.go"} {
		patterns = append(patterns, filepath.Join(root, place))
	}
	texts, err := readAll(patterns)
	if err != nil {
		return err
	}
	return errors.Join(makeHostile(ctx, databaseURL, texts), exec(ctx, databaseURL, "CREATE SCHEMA tests"))
}

// hostileKind is in the names of databases that were made hostile to everything.
const hostileKind = "_hostile"

// Config is how a test's own connections begin. What they do is the test's affair,
// so where databases are hostile they do not look into public; what they make
// without naming a schema goes into one of their own.
func Config(databaseURL string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err == nil && strings.Contains(cfg.Database, hostileKind) {
		cfg.RuntimeParams["search_path"] = "tests, pg_catalog, pg_temp"
	}
	return cfg, err
}
