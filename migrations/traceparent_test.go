package migrations_test

import (
	"strings"
	"testing"
)

// The setting taskfeed.traceparent travels with every change of its transaction; nothing
// else of a change differs, and a setting that is no trace is ignored.
func TestTraceparent(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	story := func(setting string) string {
		s.exec(`DELETE FROM taskfeed.tasks; DELETE FROM taskfeed.changes`)
		s.exec(`BEGIN; SELECT set_config('taskfeed.traceparent', '` + setting + `', true);
			INSERT INTO taskfeed.tasks (id, user_id, kind) VALUES ('t', 'alice', 'export');
			UPDATE taskfeed.tasks SET status = 'running', message = 'half' WHERE id = 't';
			UPDATE taskfeed.tasks SET progress = 40 WHERE id = 't';
			UPDATE taskfeed.tasks SET progress = 50, message = NULL WHERE id = 't';
			UPDATE taskfeed.tasks SET status = 'completed', result = '{"rows": 4}' WHERE id = 't';
			DELETE FROM taskfeed.tasks WHERE id = 't';
			SELECT taskfeed.notify('alice', 'note', '{"n": 1}'), taskfeed.notify('alice', 'own', '{"traceparent": "mine"}'), taskfeed.broadcast('all', '{}');
			COMMIT`)
		return one[string](s, `SELECT string_agg(type || ' ' || coalesce(version::text, '') || ' ' || coalesce(data, jsonb_strip_nulls(jsonb_build_object('progress', progress, 'message', message)))::text, E'\n' ORDER BY id) FROM taskfeed.changes`)
	}
	plain := story("")
	if strings.Contains(plain, trace) {
		t.Fatalf("without the setting: got %s, want no trace", plain)
	}
	traced := story(trace)
	if got := strings.Count(traced, `"traceparent": "`+trace+`"`); got != 8 || !strings.Contains(traced, `"traceparent": "mine"`) {
		t.Errorf("got %d traces in\n%s\nwant one for each change, and the app's own field as it was", got, traced)
	}
	without := strings.NewReplacer(`, "traceparent": "`+trace+`"`, "", `"traceparent": "`+trace+`", `, "", `"traceparent": "`+trace+`"`, "").Replace(traced)
	if without != plain {
		t.Errorf("apart from the trace: got\n%s\nwant\n%s", without, plain)
	}
	for _, nonsense := range []string{"x", strings.ToUpper(trace), trace + "-00", "00-0-0-0", strings.Replace(trace, "00", "01", 1), trace[:54] + "\n"} {
		if got := story(nonsense); got != plain {
			t.Errorf("with the setting %q: got\n%s\nwant\n%s", nonsense, got, plain)
		}
	}
}
