package history_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/plans"
	"github.com/taskfeed/taskfeed/store/history"
)

// readText reads a field that a task was found without.
func readText(t *testing.T, f *fixture, task *history.WholeTask, field int) string {
	t.Helper()
	var text strings.Builder
	for piece, err := range f.history.TaskText(t.Context(), task, task.Large[field]) {
		if err != nil {
			t.Fatalf("after %d bytes: %v", text.Len(), err)
		}
		if len(piece) > history.PieceBytes {
			t.Errorf("a piece of %d bytes, want %d at most", len(piece), history.PieceBytes)
		}
		text.WriteString(piece)
	}
	return text.String()
}

func TestFindTask(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('bare', 'alice')`)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, kind, status, progress, message, result, error)
		VALUES ('full', 'bob', 'video', 'failed', 40, 'half', '{"a": [1, null]}', 'boom')`)
	exec(t, f.app, `UPDATE taskfeed.tasks SET progress = 41 WHERE id = 'full'`)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, status, result) VALUES ('large', 'bob', 'completed', to_jsonb(repeat('x', 3000000)))`)

	got, err := f.history.FindTask(t.Context(), "full")
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	if got.CreatedAt.IsZero() || !got.UpdatedAt.After(got.CreatedAt) {
		t.Errorf("times: created %v, updated %v; want one after the other", got.CreatedAt, got.UpdatedAt)
	}
	got.CreatedAt, got.UpdatedAt = time.Time{}, time.Time{}
	want := taskfeed.Task{ID: "full", UserID: "bob", Kind: "video", Status: taskfeed.StatusFailed, Progress: 41, Message: "half",
		Result: []byte(`{"a": [1, null]}`), Error: "boom", Version: 2}
	if !reflect.DeepEqual(got, history.WholeTask{Task: want}) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	bare, err := f.history.FindTask(t.Context(), "bare")
	if err != nil || bare.Status != taskfeed.StatusQueued || bare.Result != nil || bare.Kind+bare.Message+bare.Error != "" || bare.Version != 1 {
		t.Errorf("a bare task: got %+v (%v), want one that is queued and empty", bare, err)
	}
	large, err := f.history.FindTask(t.Context(), "large")
	if err != nil || large.Result != nil || len(large.Large) != 1 || len(readText(t, f, &large, 0)) != 3_000_002 {
		t.Errorf("a large result: got %d bytes and %v (%v), want all 3,000,002 to be read apart", len(large.Result), large.Large, err)
	}
	for id, want := range map[string]taskfeed.Code{
		"none": taskfeed.CodeNotFound, "": taskfeed.CodeNotFound, "FULL": taskfeed.CodeNotFound, "full ": taskfeed.CodeNotFound,
		"' OR true --": taskfeed.CodeNotFound, "%": taskfeed.CodeNotFound, strings.Repeat("x", 10_000): taskfeed.CodeNotFound,
		"fu\x00ll": taskfeed.CodeBadRequest, "\xff": taskfeed.CodeBadRequest} {
		_, err := f.history.FindTask(t.Context(), id)
		_, own := f.history.FindUserTask(t.Context(), []string{"bob", "nobody"}, id)
		if got := taskfeed.CodeOf(err); got != want || taskfeed.CodeOf(own) != want {
			t.Errorf("task %.20q: code %q (%v, %v), want %q", id, got, err, own, want)
		}
	}
}

// TestLargeText reads large fields in pieces: a task of any size was held whole.
func TestLargeText(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `
		ALTER TABLE taskfeed.tasks ALTER COLUMN result SET STORAGE EXTERNAL; -- spares the test the compression
		INSERT INTO taskfeed.tasks (id, user_id, status, message, result, error)
		VALUES ('t', 'alice', 'failed', repeat('é𝄞a', 1500000), to_jsonb(repeat('x', 9500000)), repeat('e', 2000000))`)
	task, err := f.history.FindUserTask(t.Context(), []string{"nobody", "alice"}, "t")
	if err != nil || len(task.Large) != 3 || task.Message+task.Error != "" || task.Result != nil {
		t.Fatalf("found %+v (%v), want three fields to be read apart", task.Large, err)
	}
	for i, want := range []string{strings.Repeat("é𝄞a", 1_500_000), `"` + strings.Repeat("x", 9_500_000) + `"`, strings.Repeat("e", 2_000_000)} {
		if got := readText(t, f, &task, i); got != want {
			t.Errorf("%s has %d bytes beginning with %.20q, want %d", task.Large[i].Name, len(got), got, len(want))
		}
	}
	t.Run("no piece of another text", func(t *testing.T) {
		pieces := 0
		for _, err = range f.history.TaskText(t.Context(), &task, task.Large[1]) {
			if pieces++; pieces == 1 {
				exec(t, f.app, `UPDATE taskfeed.tasks SET progress = 50, message = 'short'`)
			}
			if pieces == 2 {
				exec(t, f.app, `UPDATE taskfeed.tasks SET result = to_jsonb(repeat('y', 9500000))`)
			}
		}
		if pieces != 3 || taskfeed.CodeOf(err) != taskfeed.CodeUnavailable {
			t.Errorf("%d pieces and %v, want two and a refusal of the third, whose text changed", pieces-1, err)
		}
	})
}

// Another user's large task was read before its owner was compared, so the time showed
// that it exists.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, status, message, result)
		SELECT 'large', 'alice', 'running', string_agg(md5(i::text), ''), jsonb_agg(md5(i::text)) FROM generate_series(1, 100000) AS i`)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('small', 'alice')`)
	s, ran := traced(t, f.store)
	blocks := func(userID, id string) int {
		t.Helper()
		ran.Take()
		_, err := s.FindUserTask(t.Context(), []string{userID}, id)
		if own := userID == "alice" && id != "none"; own != (err == nil) {
			t.Fatalf("%s asks for %s: %v", userID, id, err)
		}
		read := 0
		for _, st := range ran.Take() {
			plan := st.Explain(t, f.app)
			plan.Visit(func(n *plans.Node) { read = max(read, n.Blocks()) })
		}
		return read
	}
	own, others, small, none := blocks("alice", "large"), blocks("mallory", "large"), blocks("mallory", "small"), blocks("mallory", "none")
	if others != small || others > none+1 || own < others+100 {
		t.Errorf("blocks read of another's large task %d, small one %d, none %d, and of the own large one %d; want the same for a stranger, and many for the owner",
			others, small, none, own)
	}
}
