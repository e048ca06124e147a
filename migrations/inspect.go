package migrations

import (
	"bytes"
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Finding is a difference between a database and what the migrations made.
type Finding struct {
	// Problem is false for a note that may interest the app's developers and needs no
	// action.
	Problem bool
	// Says what was found, and what to do about a problem.
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

//go:embed expected/schema.json
var expectedSchema []byte

// expectedParts returns the parts of the schema as the migrations make it.
func expectedParts() ([]part, error) {
	var parts []part
	lines := json.NewDecoder(bytes.NewReader(expectedSchema))
	for {
		var p part
		switch err := lines.Decode(&p); {
		case errors.Is(err, io.EOF):
			return parts, nil
		case err != nil:
			return nil, fmt.Errorf("read the expected schema: %w", err)
		}
		parts = append(parts, p)
	}
}

// Inspect compares a database with what this binary needs: the server, the version, the
// role that connects, and every table, index, constraint, trigger and function. It
// changes nothing. Columns, indexes and triggers that the app has added are no problem.
// Of an older or newer schema it reports the version only.
func Inspect(ctx context.Context, databaseURL string) ([]Finding, error) {
	var found []Finding
	err := withDB(ctx, databaseURL, "", func(db *sql.DB) error {
		if err := checkServer(ctx, db); err != nil {
			found = append(found, problem("%v", err))
		}
		if err := checkRole(ctx, db); err != nil {
			found = append(found, problem("%v", err))
			return nil // the role may be unable to read the version
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
		different, err := inspectSchema(ctx, db)
		if isLocked(err) { // the rest can be reported
			different, err = inspectLocks(ctx, db)
		}
		if err != nil {
			return err
		}
		found = append(found, different...)
		if len(found) == 0 { // otherwise the objects that it reads may be missing
			found, err = inspectOthers(ctx, db)
		}
		return err
	})
	return found, err
}

// Drift returns the problems that Inspect finds with the schema alone, of a database that
// has this binary's version.
func Drift(ctx context.Context, databaseURL string) (found []Finding, err error) {
	err = withDB(ctx, databaseURL, "", func(db *sql.DB) error {
		different, err := inspectSchema(ctx, db)
		found = slices.DeleteFunc(different, func(f Finding) bool { return !f.Problem })
		return err
	})
	return found, err
}

func inspectSchema(ctx context.Context, db *sql.DB) ([]Finding, error) {
	expected, err := expectedParts()
	if err != nil {
		return nil, err
	}
	actual, err := describe(ctx, db)
	if err != nil {
		return nil, err
	}
	return drift(expected, actual), nil
}

// drift compares two descriptions of the schema.
func drift(expected, actual []part) []Finding {
	var found []Finding
	want, got := index(expected), index(actual)
	for _, p := range expected {
		_, exists := got[p.of()]
		is, ok := got[p.id()]
		switch {
		case isPartition(p.Object): // they come and go
		case p.Kind == "" && !ok:
			found = append(found, problem("%s is missing: restore it from a backup or from expected/schema.sql", p.Object))
		case !exists: // the line for the object is enough
		case !ok:
			found = append(found, missing(p)...)
		case is.definition() != p.definition():
			found = append(found, changed(p, is))
		}
	}
	for _, p := range actual {
		_, ours := want[p.id()]
		_, known := want[p.of()]
		switch {
		case ours:
		case p.Kind == "" && !isPartition(p.Object):
			found = append(found, note("%s is not taskfeed's", p.Object))
		case known || isPartition(p.Object):
			found = append(found, added(p)...)
		}
	}
	return found
}

// partID identifies a part.
type partID struct{ object, kind, name string }

func (p part) id() partID { return partID{p.Object, p.Kind, p.Name} }
func (p part) of() partID { return partID{object: p.Object} }

// String names the part: "column id of table tasks".
func (p part) String() string {
	switch {
	case p.Kind == "":
		return p.Object
	case p.Name == "":
		return p.Kind + " of " + p.Object
	}
	return p.Kind + " " + p.Name + " of " + p.Object
}

func index(parts []part) map[partID]part {
	m := make(map[partID]part, len(parts))
	for _, p := range parts {
		m[p.id()] = p
	}
	return m
}

// isPartition reports whether an object is a partition of the log, which the sequencer
// creates and drops.
func isPartition(object string) bool {
	digits, ok := strings.CutPrefix(object, "table events_")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// tunable parts may be changed without harm; store.Hazards checks what replication
// needs of a replica identity.
func (p part) tunable() bool { return p.Kind == "storage parameters" || p.Kind == "replica identity" }

func missing(p part) []Finding {
	if p.Kind == "replica identity" {
		return nil
	}
	return []Finding{{!p.tunable(), fmt.Sprintf("%v is missing: %s", p, p.definition())}}
}

func changed(want, is part) Finding {
	if ofTheApp(want) && is.SQL == want.SQL {
		return note("%v has a default of its own: it is %q, not %q", want, is.definition(), want.definition())
	}
	if strings.HasPrefix(want.Object, "function ") { // too long to quote
		return problem("%v is not as taskfeed made it: restore it from expected/schema.sql", want)
	}
	return Finding{!want.tunable(), fmt.Sprintf("%v is not as taskfeed made it: it is %q, not %q", want, is.definition(), want.definition())}
}

// ofTheApp reports whether a column of tasks is one that the app writes. It may do so
// by a default of its own.
func ofTheApp(p part) bool {
	return p.Object == "table tasks" && p.Kind == "column" &&
		slices.Contains([]string{"id", "user_id", "kind", "status", "progress", "message", "result", "error", "created_at"}, p.Name)
}

// lastTrigger must see a row as it will be stored, so it has to fire last. Postgres
// fires triggers in the order of their names.
const lastTrigger = "zz_taskfeed_capture_update"

// added returns what to report of a part that was added to one of our tables. The app
// writes tasks; taskfeed alone writes the other tables.
func added(p part) []Finding {
	switch kind := p.Kind; {
	case p.tunable() || isPartition(p.Object) && kind != "trigger" && kind != "rule":
		return nil
	case p.Object == "table tasks" && p.late:
		return []Finding{problem("%v fires after %s, which tells users what it finds: rename it to something that sorts before", p, lastTrigger)}
	case p.Object != "table tasks" && (kind == "trigger" || kind == "rule"):
		return []Finding{problem("%v is not taskfeed's and runs when taskfeed writes, with its rights: drop it", p)}
	case p.Object != "table tasks" && kind == "constraint":
		return []Finding{problem("%v is not taskfeed's and may refuse what it writes: drop it", p)}
	}
	return []Finding{note("%v is not taskfeed's", p)}
}
