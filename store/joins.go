package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// The owners of a row, and its kind, may be found in other tables of the app. A fact has
// the keys, and the sequencer looks up what they stand for when it folds: one query for
// each source and field of a page.

// joinPause is how long nothing is looked up for a source after a failure, for example
// while the app has locked the other table. Each try waits 200 ms for the lock.
const joinPause = time.Second

// notLookedUp begins the reason why what a fact leaves to other tables is not known.
const notLookedUp = "what the mapping finds in other tables cannot be looked up: "

// unjoined is a source of which nothing can be looked up.
type unjoined struct {
	reason string
	until  time.Time // then it is tried again
}

// vias are the fields of a fact that are found in other tables.
type vias struct {
	User json.RawMessage `json:"via_user"`
	Kind json.RawMessage `json:"via_kind"`
	Mark string          `json:"joins"` // of the mapping under which it was recorded
}

// keys lists what stands in a field.
func keys(raw json.RawMessage) []string {
	list, _ := owners(raw)
	return list
}

// wanted is what is to be looked up for the changes of one source.
type wanted struct {
	at   []int // places of the changes
	vias []vias
}

// join looks up what the facts among these changes leave to other tables. A fact of
// another mapping is stale: its row is read again instead.
func (f *foldTx) join(ctx context.Context, changes []change) error {
	bySource := map[string]*wanted{}
	for i, c := range changes {
		if c.source == "" || c.kind != factRow || !bytes.Contains(c.data, []byte(`"joins"`)) {
			continue
		}
		var v vias
		if err := json.Unmarshal(c.data, &v); err != nil || v.Mark == "" {
			continue
		}
		if bySource[c.source] == nil {
			bySource[c.source] = &wanted{}
		}
		w := bySource[c.source]
		w.at, w.vias = append(w.at, i), append(w.vias, v)
	}
	for source, w := range bySource {
		if err := f.joinSource(ctx, source, w, changes); err != nil {
			return err
		}
	}
	return nil
}

// joinRows is join for rows that were read.
func (f *foldTx) joinRows(ctx context.Context, all []sourceRow) error {
	changes := make([]change, len(all))
	for i, r := range all {
		changes[i] = r.change
	}
	if err := f.join(ctx, changes); err != nil {
		return err
	}
	for i, c := range changes {
		if all[i].change = c; c.unfound != "" && all[i].failure == "" {
			all[i].failure = c.unfound
		}
	}
	return nil
}

const sqlJoinsMark = `
SELECT resolved #>> '{values,joins}'
FROM taskfeed.sources
WHERE name = @source`

func (f *foldTx) joinSource(ctx context.Context, source string, w *wanted, changes []change) error {
	var quoted *string
	err := f.tx.QueryRow(ctx, sqlJoinsMark, pgx.NamedArgs{"source": source}).Scan(&quoted)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	mark := strings.Trim(orNull(quoted), "'")
	current := &wanted{}
	for i, v := range w.vias {
		if v.Mark != mark {
			changes[w.at[i]].kind = factStale
			continue
		}
		current.at, current.vias = append(current.at, w.at[i]), append(current.vias, v)
	}
	reason, err := f.lookUp(ctx, source, mark, current, changes)
	if err != nil || reason == "" {
		return err
	}
	for _, i := range current.at {
		changes[i].unfound, changes[i].again = reason, true
	}
	return nil
}

// lookUp fills in what is found. It returns why nothing can be.
func (f *foldTx) lookUp(ctx context.Context, source, mark string, w *wanted, changes []change) (reason string, err error) {
	if len(w.at) == 0 {
		return "", nil
	}
	if f.s != nil && time.Now().Before(f.s.sources.unjoined[source].until) {
		return f.s.sources.unjoined[source].reason, nil
	}
	var kinds map[string]found
	users, err := f.found(ctx, source, mark, "user", w, func(v vias) json.RawMessage { return v.User })
	if err == nil {
		kinds, err = f.found(ctx, source, mark, "kind", w, func(v vias) json.RawMessage { return v.Kind })
	}
	if err == nil {
		for n, i := range w.at {
			w.vias[n].fill(&changes[i], users, kinds)
		}
		return "", nil
	}
	if f.tx.Conn().IsClosed() || ctx.Err() != nil {
		return "", err
	}
	reason = notLookedUp + err.Error()
	if f.s != nil {
		if f.s.sources.unjoined == nil {
			f.s.sources.unjoined = map[string]unjoined{}
		}
		f.s.sources.unjoined[source] = unjoined{reason, time.Now().Add(joinPause)}
	}
	return reason, nil
}

// found is what was looked up for one key.
type found struct {
	values  []json.RawMessage
	failure string
}

const sqlJoined = `
SELECT j.key, coalesce(j.value, '[]')::text, coalesce(j.failure, '')
FROM taskfeed.{function}(@field, @mark, @keys::text[]) AS j`

func (f *foldTx) found(ctx context.Context, source, mark, field string, w *wanted, of func(vias) json.RawMessage) (map[string]found, error) {
	all := map[string]found{}
	list := []string{}
	for _, v := range w.vias {
		for _, key := range keys(of(v)) {
			if _, listed := all[key]; !listed {
				all[key] = found{}
				list = append(list, key)
			}
		}
	}
	if len(list) == 0 {
		return all, nil
	}
	slices.Sort(list)
	statement := strings.ReplaceAll(sqlJoined, "{function}", pgx.Identifier{"attached_" + source + "_joined"}.Sanitize())
	err := pgx.BeginFunc(ctx, f.tx, func(tx pgx.Tx) error { // it fails if a table is gone, or may not be read any more
		var key, values, failure string
		rows, _ := tx.Query(ctx, statement, pgx.NamedArgs{"field": field, "mark": mark, "keys": list}) // rows tell of errors too
		_, err := pgx.ForEachRow(rows, []any{&key, &values, &failure}, func() error {
			one := found{failure: failure}
			err := json.Unmarshal([]byte(values), &one.values)
			all[key] = one
			return err
		})
		return err
	})
	return all, err
}

// fill puts into a change what was found for it.
func (v vias) fill(c *change, users, kinds map[string]found) {
	gather := func(raw json.RawMessage, from map[string]found) (values []json.RawMessage) {
		for _, key := range keys(raw) {
			one := from[key]
			values = append(values, one.values...)
			if one.failure != "" {
				c.unfound = notLookedUp + one.failure
			}
		}
		return values
	}
	if v.User != nil {
		c.users, _ = json.Marshal(gather(v.User, users))
	}
	if v.Kind != nil {
		if values := gather(v.Kind, kinds); len(values) > 0 {
			c.named = new(string)
			if json.Unmarshal(values[0], c.named) != nil {
				*c.named = string(values[0])
			}
		}
	}
}
