package verify

import (
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestDecodeChange(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		line string
		want change
	}{
		"insert": {`table taskfeed.tasks: INSERT: id[text]:'t1' kind[text]:null progress[smallint]:5 result[jsonb]:'{"a": 1}'`,
			change{"taskfeed.tasks", "INSERT", map[string]*string{"id": text("t1"), "kind": nil, "progress": text("5"), "result": text(`{"a": 1}`)}}},
		"quotes, spaces and brackets in a value": {`table taskfeed.tasks: INSERT: message[text]:'it''s [x]: ''yes''' error[text]:'' n[integer]:-1`,
			change{"taskfeed.tasks", "INSERT", map[string]*string{"message": text("it's [x]: 'yes'"), "error": text(""), "n": text("-1")}}},
		"a value that was not written again": {`table taskfeed.tasks: UPDATE: id[text]:'t1' result[jsonb]:unchanged-toast-datum`,
			change{"taskfeed.tasks", "UPDATE", map[string]*string{"id": text("t1")}}},
		"a changed key": {`table taskfeed.tasks: UPDATE: old-key: id[text]:'t1' new-tuple: id[text]:'t2' at[timestamp with time zone]:'2026-11-22 10:00:00+00'`,
			change{"taskfeed.tasks", "UPDATE", map[string]*string{"id": text("t2"), "at": text("2026-11-22 10:00:00+00")}}},
		"delete":                {`table taskfeed.tasks: DELETE: id[text]:'t1'`, change{"taskfeed.tasks", "DELETE", map[string]*string{"id": text("t1")}}},
		"delete without a key":  {`table public.x: DELETE: (no-tuple-data)`, change{"public.x", "DELETE", map[string]*string{}}},
		"a type with brackets":  {`table public.x: INSERT: a[text[]]:'{a,b}' b[boolean]:true`, change{"public.x", "INSERT", map[string]*string{"a": text("{a,b}"), "b": text("true")}}},
		"several lines in text": {"table public.x: INSERT: a[text]:'one\ntwo'", change{"public.x", "INSERT", map[string]*string{"a": text("one\ntwo")}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok, err := decodeChange(c.line)
			if err != nil || !ok {
				t.Fatalf("got %t, %v, want a change", ok, err)
			}
			if got.table != c.want.table || got.op != c.want.op || len(got.columns) != len(c.want.columns) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			for column, want := range c.want.columns {
				value, ok := got.columns[column]
				if !ok || (value == nil) != (want == nil) || value != nil && *value != *want {
					t.Errorf("column %s: got %v, want %v", column, value, want)
				}
			}
		})
	}
}

func TestDecodeChangeRefuses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"table x", "table x: INSERT", "table x: INSERT: a", "table x: INSERT: a[text]:'open"} {
		if c, ok, err := decodeChange(line); ok || err == nil {
			t.Errorf("%q: got %+v, %t, %v, want an error", line, c, ok, err)
		}
	}
	if _, ok, err := decodeChange("BEGIN 7"); ok || err != nil {
		t.Errorf("a line that is no change: got %t, %v", ok, err)
	}
}

func FuzzDecodeChange(f *testing.F) {
	f.Add(`table taskfeed.tasks: UPDATE: old-key: id[text]:'t1' new-tuple: id[text]:'t2' r[jsonb]:unchanged-toast-datum`)
	f.Fuzz(func(t *testing.T, line string) {
		if c, ok, err := decodeChange(line); ok && (err != nil || c.columns == nil) {
			t.Errorf("%q: got %+v, %v", line, c, err)
		}
	})
}
