package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

// reconcileSources compares the attached tables with their tasks.
func reconcileSources(ctx context.Context, cfg store.Config) (found []migrations.Finding, err error) {
	st, err := store.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	sources, err := st.Sources(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		r, err := st.Reconcile(ctx, s.Name)
		if err != nil {
			found = append(found, migrations.Finding{Problem: true, Says: fmt.Sprintf("attached table %s cannot be compared with its tasks: %v", s.Name, err)})
			continue
		}
		found = append(found, differences(s.Name, r))
	}
	return found, nil
}

func differences(name string, r store.Reconciliation) migrations.Finding {
	if r.Differences()+r.Failed == 0 {
		return migrations.Finding{Says: fmt.Sprintf("attached table %s: all %d rows are as their users see them", name, r.Rows)}
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{r.Missing, "rows are not tasks"}, {r.Differs, "tasks differ from their rows"}, {len(r.Gone), "open tasks have no row"}, {r.Failed, "rows cannot be mapped"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	says := fmt.Sprintf("attached table %s: of %d rows, %s", name, r.Rows, strings.Join(parts, ", "))
	if examples := append(r.Examples, r.Gone[:min(len(r.Gone), 3)]...); len(examples) > 0 {
		says += " (" + strings.Join(examples, ", ") + ")"
	}
	return migrations.Finding{Problem: true, Says: says + ": run taskfeed sources --read-again " + name}
}

// readAgain has a source read again, and ends its open tasks that have no row.
func readAgain(ctx context.Context, st *store.Store, name string, out io.Writer) error {
	r, err := st.Reconcile(ctx, name)
	if err != nil {
		return err
	}
	if err := st.ReadAgain(ctx, name, r.Gone); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "the rows of %s are read again: %d differences were found\n", oneLine(name), r.Differences())
	return err
}
