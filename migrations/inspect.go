package migrations

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Finding is something about a database that is not as the migrations made it.
type Finding struct {
	// Problem is false for what only an app's developer may want to know.
	Problem bool
	// Says what it is, and what to do about a problem.
	Says string
}

func (f Finding) String() string {
	if f.Problem {
		return "problem: " + f.Says
	}
	return "note: " + f.Says
}

func problem(format string, args ...any) Finding { return Finding{true, fmt.Sprintf(format, args...)} }
func note(format string, args ...any) Finding    { return Finding{false, fmt.Sprintf(format, args...)} }

//go:embed expected/schema.sql
var expectedSchema string

// Inspect compares a database with what this binary needs: the server, the
// version, the role that asks, and every table, index, constraint, trigger and
// function, also who may use them. It changes nothing. Columns, indexes and
// triggers that the app has added are no problem. Of an older or newer schema it
// says no more than that.
func Inspect(ctx context.Context, databaseURL string) ([]Finding, error) {
	var found []Finding
	err := withDB(ctx, databaseURL, "", func(db *sql.DB) error {
		if err := checkServer(ctx, db); err != nil {
			found = append(found, problem("%v", err))
		}
		if err := checkRole(ctx, db); err != nil {
			found = append(found, problem("%v", err))
			return nil // it may be unable to read the version
		}
		p, err := provider(db)
		if err != nil {
			return err
		}
		v, err := readVersions(ctx, db, p)
		switch {
		case err != nil:
			return err
		case v.Database > v.Binary:
			found = append(found, problem("%v: install a newer taskfeed", v))
			return nil
		case v.Database < v.Binary:
			found = append(found, problem("%v: run taskfeed migrate up", v))
			return nil
		}
		actual, err := describe(ctx, db)
		found = append(found, drift(expectedSchema, actual)...)
		return err
	})
	return found, err
}

// drift compares two descriptions of the schema.
func drift(expected, actual string) []Finding {
	want, got := parseDescription(expected), parseDescription(actual)
	var found []Finding
	for _, name := range sortedKeys(want) {
		object, ok := got[name]
		switch {
		case partition.MatchString(name): // they come and go
		case !ok:
			found = append(found, problem("%s is missing: restore it from a backup or from expected/schema.sql", name))
		case strings.HasPrefix(name, "function"):
			found = append(found, changedFunction(name, want[name], object)...)
		default:
			found = append(found, changedTable(name, want[name], object)...)
		}
	}
	for _, name := range sortedKeys(got) {
		found = append(found, openTo(name, got[name])...)
		if want[name] == nil && !partition.MatchString(name) {
			found = append(found, note("%s is not taskfeed's", name))
		}
	}
	return found
}

var (
	partition   = regexp.MustCompile(`^table events_[0-9]+$`)
	titleOf     = regexp.MustCompile(`^(TABLE|SEQUENCE|CREATE OR REPLACE FUNCTION) ([^ ]+)`)
	partName    = regexp.MustCompile(`^(CONSTRAINT|CREATE UNIQUE INDEX|CREATE INDEX|CREATE TRIGGER|CREATE CONSTRAINT TRIGGER|) ?([^ ]+)`)
	executeLine = "-- EXECUTE: "
)

// parseDescription splits a description into objects, each with its lines.
// Comments are left out: they change nothing.
func parseDescription(text string) map[string][]string {
	objects := make(map[string][]string)
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := titleOf.FindStringSubmatch(line); m != nil {
			name = strings.ToLower(strings.TrimPrefix(m[1], "CREATE OR REPLACE ")) + " " + m[2]
			if m[1] == "CREATE OR REPLACE FUNCTION" { // its arguments tell it from others of its name
				name = "function " + strings.TrimPrefix(line, "CREATE OR REPLACE FUNCTION ")
			}
		}
		function := strings.HasPrefix(name, "function")
		if !strings.HasPrefix(line, executeLine) && (!function || strings.HasPrefix(line, "-- ")) {
			line, _, _ = strings.Cut(line, "-- ")
		}
		if line = strings.TrimRight(line, " "); name == "" || line == "" || strings.HasPrefix(line, "    COMMENT ") {
			continue
		}
		objects[name] = append(objects[name], line)
	}
	return objects
}

// changedFunction compares the text of a function, who may call it aside.
func changedFunction(name string, want, got []string) []Finding {
	text := func(lines []string) string {
		lines = slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, executeLine) })
		return strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
	}
	if text(want) == text(got) {
		return nil
	}
	return []Finding{problem("%s is not as taskfeed made it: restore it from expected/schema.sql", name)}
}

// changedTable compares the parts of a table, or the one line of a sequence.
func changedTable(name string, want, got []string) []Finding {
	has := make(map[string]string)
	for _, line := range got[1:] {
		if !strings.HasPrefix(line, "    GRANT ") {
			has[part(line)] = line
		}
	}
	var found []Finding
	if got[0] != want[0] {
		is, _, _ := strings.Cut(got[0], " WITH (")
		made, _, _ := strings.Cut(want[0], " WITH (")
		found = append(found, Finding{is != made, // storage parameters may be tuned
			fmt.Sprintf("%s is not as taskfeed made it: it is %q, not %q", name, got[0], want[0])})
	}
	for _, line := range want[1:] {
		p := part(line)
		is, ok := has[p]
		delete(has, p)
		switch line = strings.TrimSpace(line); {
		case !ok:
			found = append(found, problem("%s of %s is missing: %s", p, name, line))
		case strings.TrimSpace(is) != line:
			found = append(found, problem("%s of %s is not as taskfeed made it: it is %q, not %q", p, name, strings.TrimSpace(is), line))
		}
	}
	for _, p := range sortedKeys(has) {
		if m := beforeRow.FindStringSubmatch(has[p]); name == "table tasks" && m != nil && strings.Trim(m[1], `"`) > lastTrigger {
			found = append(found, problem("%s of %s fires after %s, which tells users what it finds: rename it to something that sorts before", p, name, lastTrigger))
			continue
		}
		found = append(found, note("%s of %s is not taskfeed's", p, name))
	}
	return found
}

// lastTrigger must see a row as it will be stored. Postgres fires triggers in the
// order of their names.
const lastTrigger = "zz_taskfeed_capture_update"

var beforeRow = regexp.MustCompile(`CREATE TRIGGER ("[^"]+"|\S+) BEFORE (?:.* OR )?UPDATE .*FOR EACH ROW`)

// part names what a line of a table's description is about: "index tasks_pkey".
func part(line string) string {
	m := partName.FindStringSubmatch(strings.TrimSpace(line))
	kind := m[1][strings.LastIndexByte(m[1], ' ')+1:]
	if kind == "" {
		kind = "column"
	}
	return strings.ToLower(kind) + " " + m[2]
}

// openTo says which roles may do what an app needs not.
func openTo(name string, lines []string) []Finding {
	var found []Finding
	for _, line := range lines {
		if grantees, ok := strings.CutPrefix(line, executeLine); ok && grantees != "owner" {
			called, _, _ := strings.Cut(name, "(")
			forApps := called == "function taskfeed.notify" || called == "function taskfeed.broadcast"
			for role := range strings.SplitSeq(grantees, ", ") {
				if !forApps || role == "PUBLIC" {
					found = append(found, problem("%s may be called by %s, who could forge events: REVOKE EXECUTE", name, role))
				}
			}
		}
		grant, ok := strings.CutPrefix(line, "    GRANT ")
		if !ok {
			continue
		}
		right, role, _ := strings.Cut(grant, " TO ")
		switch writes := right != "SELECT"; {
		case name == "table tasks" && role == "PUBLIC":
			found = append(found, problem("%s of %s is granted to PUBLIC: REVOKE it and grant it to the app's role", right, name))
		case name == "table tasks" && right == "TRUNCATE":
			found = append(found, note("%s may TRUNCATE %s, which makes no events", role, name))
		case name == "table tasks" || strings.HasPrefix(name, "function"):
		case writes:
			found = append(found, problem("%s of %s is granted to %s, who could forge or lose events: REVOKE it", right, name, role))
		default:
			found = append(found, note("%s of %s is granted to %s, who sees what concerns every user", right, name, role))
		}
	}
	return found
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
