package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
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
		if got, want := figures(t, f.store), (store.Figures{Partitions: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if err := f.session.Maintain(t.Context(), 0); err != nil {
			t.Fatalf("maintain: %v", err)
		}
		if got := figures(t, f.store).Partitions; got != 2 {
			t.Errorf("partitions: got %d, want 2", got)
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

func TestFindTask(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('bare', 'alice')`)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, kind, status, progress, message, result, error)
		VALUES ('full', 'bob', 'video', 'failed', 40, 'half', '{"a": [1, null]}', 'boom')`)
	exec(t, f.app, `UPDATE taskfeed.tasks SET progress = 41 WHERE id = 'full'`)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, status, result) VALUES ('large', 'bob', 'completed', to_jsonb(repeat('x', 3000000)))`)

	got, err := f.store.FindTask(t.Context(), "full")
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	if got.CreatedAt.IsZero() || !got.UpdatedAt.After(got.CreatedAt) {
		t.Errorf("times: created %v, updated %v; want one after the other", got.CreatedAt, got.UpdatedAt)
	}
	got.CreatedAt, got.UpdatedAt = time.Time{}, time.Time{}
	want := taskfeed.Task{ID: "full", UserID: "bob", Kind: "video", Status: taskfeed.StatusFailed, Progress: 41, Message: "half",
		Result: []byte(`{"a": [1, null]}`), Error: "boom", Version: 2}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	bare, err := f.store.FindTask(t.Context(), "bare")
	if err != nil || bare.Status != taskfeed.StatusQueued || bare.Result != nil || bare.Kind+bare.Message+bare.Error != "" || bare.Version != 1 {
		t.Errorf("a bare task: got %+v (%v), want one that is queued and empty", bare, err)
	}
	large, err := f.store.FindTask(t.Context(), "large")
	if err != nil || len(large.Result) != 3_000_002 {
		t.Errorf("a large result: got %d bytes (%v), want all 3,000,002", len(large.Result), err)
	}
	for id, want := range map[string]taskfeed.Code{
		"none": taskfeed.CodeNotFound, "": taskfeed.CodeNotFound, "FULL": taskfeed.CodeNotFound, "full ": taskfeed.CodeNotFound,
		"' OR true --": taskfeed.CodeNotFound, "%": taskfeed.CodeNotFound, strings.Repeat("x", 10_000): taskfeed.CodeNotFound,
		"fu\x00ll": taskfeed.CodeBadRequest, "\xff": taskfeed.CodeBadRequest} {
		_, err := f.store.FindTask(t.Context(), id)
		if got := taskfeed.CodeOf(err); got != want {
			t.Errorf("task %.20q: code %q (%v), want %q", id, got, err, want)
		}
	}
}
