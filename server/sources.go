package server

import (
	"context"
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
		problem, remedy := s.Advice()
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
