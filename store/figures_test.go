package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/store"
)

func figures(t *testing.T, s *store.Store) store.Figures {
	t.Helper()
	got, err := s.Figures(t.Context())
	if err != nil {
		t.Fatalf("figures: %v", err)
	}
	return got
}

func capturing(t *testing.T, s *store.Store) bool {
	t.Helper()
	got, err := s.Capturing(t.Context())
	if err != nil {
		t.Fatalf("capturing: %v", err)
	}
	return got
}

func TestFigures(t *testing.T) {
	t.Parallel()

	t.Run("of a quiet database", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		if got, want := figures(t, f.store), (store.Figures{}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})

	t.Run("changes that wait", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		addMany(t, f.app, "t", 7)
		if got := figures(t, f.store).BufferDepth; got != 7 {
			t.Errorf("depth: got %d, want 7", got)
		}
		move(t, f.session)
		if got := figures(t, f.store).BufferDepth; got != 0 {
			t.Errorf("depth after a move: got %d, want 0", got)
		}
		addMany(t, f.app, "u", store.MaxDepth+5)
		if got := figures(t, f.store).BufferDepth; got != store.MaxDepth {
			t.Errorf("depth of a backlog: got %d, want the bound %d", got, store.MaxDepth)
		}
	})

	t.Run("the oldest writer", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		reader := f.begin(t)
		exec(t, reader, "SELECT FROM taskfeed.tasks")
		if got := figures(t, f.store).OldestWriter; got != 0 {
			t.Errorf("with a reader alone: got %v, want 0", got)
		}
		writer := f.begin(t)
		add(t, writer, "a")
		first := figures(t, f.store).OldestWriter
		second := figures(t, f.store).OldestWriter
		if first <= 0 || second <= first || second > time.Hour {
			t.Errorf("age of the writer: got %v, then %v; want it to grow", first, second)
		}
		name := "f" + fmt.Sprint(pid(f.session))
		exec(t, writer, "UPDATE taskfeed.tasks SET kind = 'x' WHERE false; ROLLBACK; BEGIN; SET LOCAL taskfeed.notify = 'off'; INSERT INTO taskfeed.tasks (id, user_id) VALUES ('b', 'bob'); PREPARE TRANSACTION '"+name+"'")
		t.Cleanup(func() { _, _ = writer.Exec(context.Background(), "ROLLBACK PREPARED '"+name+"'") })
		if got := figures(t, f.store).OldestWriter; got <= 0 {
			t.Errorf("age of a prepared writer: got %v, want more than 0", got)
		}
		exec(t, writer, "COMMIT PREPARED '"+name+"'")
		if got := figures(t, f.store).OldestWriter; got != 0 {
			t.Errorf("after the last writer: got %v, want 0", got)
		}
	})

	t.Run("capture that is switched off", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		triggers := value[[]string](t, f.app, "SELECT array_agg(tgname::text) FROM pg_trigger WHERE tgrelid = 'taskfeed.tasks'::regclass AND NOT tgisinternal")
		for _, trigger := range triggers {
			for how, want := range map[string]bool{"DISABLE": false, "ENABLE REPLICA": false, "ENABLE ALWAYS": true, "ENABLE": true} {
				exec(t, f.app, "ALTER TABLE taskfeed.tasks "+how+" TRIGGER "+trigger)
				if got := capturing(t, f.store); got != want {
					t.Errorf("%s TRIGGER %s: capturing %t, want %t", how, trigger, got, want)
				}
			}
			exec(t, f.app, "ALTER TABLE taskfeed.tasks ENABLE TRIGGER "+trigger)
		}
		exec(t, f.app, "DROP TRIGGER "+triggers[0]+" ON taskfeed.tasks")
		if capturing(t, f.store) {
			t.Error("a dropped trigger: capturing, want not")
		}
	})
}
