package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/store"
)

// attachedTables shows the attached tables to admins; it implements httpapi.Sources.
type attachedTables struct{ st *store.Store }

// Sources lists them.
func (a attachedTables) Sources(ctx context.Context) ([]httpapi.Source, error) {
	all, err := a.st.Sources(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]httpapi.Source, len(all))
	for i, s := range all {
		problem, remedy := advice(s)
		list[i] = httpapi.Source{Name: s.Name, Table: s.Table, OK: s.Problem == "", Problem: problem, Remedy: remedy, Reading: s.Reading,
			Errors: s.Errors, Unmapped: s.Unmapped, Unowned: s.Unowned, Unknown: s.Unknown, LastError: s.LastError, ErrorAt: inUTC(s.ErrorAt),
			AttachedAt: s.AttachedAt.UTC(), Writes: s.Writes, Mapping: s.Mapping}
	}
	return list, nil
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}

// advice says what is wrong with a source, or what its admin should know, and what to
// do about it.
func advice(s store.Source) (problem, remedy string) {
	switch {
	case s.Problem != "":
		return s.Problem, s.Remedy
	case len(s.Unknown) > 0:
		return "the map does not name " + strings.Join(s.Unknown, ", "),
			fmt.Sprintf("attach it again, with %s=… in its map", strings.Join(s.Unknown, "=…, "))
	}
	return "", ""
}
