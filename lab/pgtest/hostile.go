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

// Hostile fills the schema public of a database with operators and functions that match
// better than those of Postgres for every inexact call in the texts, which may be whole
// files. A statement that binds to one fails with SQLSTATE TF666.
func Hostile(t testing.TB, databaseURL string, texts ...string) {
	t.Helper()
	if strings.Contains(databaseURL, hostileKind) {
		return // it is hostile already
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

// Sources returns the texts for Hostile: those of all files that match the patterns,
// each of which must match some.
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

// everywhere reports whether all databases of New are hostile to all calls of the
// product, so that every test tries its statements against them.
func everywhere() bool { return os.Getenv("TASKFEED_TEST_HOSTILE") != "" }

// makeAllHostile makes a database hostile to all statements of the product. Tests create
// their own objects in another schema: see [Config].
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

// hostileKind is part of the names of databases that makeAllHostile has filled.
const hostileKind = "_hostile"

// Config returns the configuration of a test's own connections. In hostile databases
// their search path has the schema tests in place of public, so that a test's own
// statements do not bind to hostile objects.
func Config(databaseURL string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err == nil && strings.Contains(cfg.Database, hostileKind) {
		cfg.RuntimeParams["search_path"] = "tests, pg_catalog, pg_temp"
	}
	return cfg, err
}
