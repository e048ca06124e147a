package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// The owner of a task that does not change is told so, once, and again after it has
// changed. The event is one of the feed like any other.
func TestOwnersOfStalledTasksAreTold(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := startServing(t, url, "TASKFEED_STALLED_AFTER=1s")
	alice := dialPlain(t, s, "alice", "after=0")
	pgtest.Exec(t, url, `INSERT INTO taskfeed.tasks (id, user_id, kind, status, progress) VALUES ('t', 'alice', 'export', 'running', 40)`)
	stalled := func(version, progress int) {
		t.Helper()
		for {
			f := checkedFrame(t, alice)
			if f.Type != taskfeed.TypeTaskStalled {
				continue
			}
			var data struct {
				Kind     string
				Progress int
			}
			if err := json.Unmarshal(f.Event.Data, &data); err != nil || f.Event.TaskID != "t" || int(f.Event.Version) != version || data.Kind != "export" || data.Progress != progress {
				t.Fatalf("alice got %+v with %s, want a stall of version %d at %d", f.Event, f.Event.Data, version, progress)
			}
			return
		}
	}
	stalled(1, 40)
	pgtest.Exec(t, url, `UPDATE taskfeed.tasks SET progress = 50`)
	stalled(2, 50)
	pgtest.Exec(t, url, `UPDATE taskfeed.tasks SET status = 'completed'`)
	if _, metrics := get(t, s.base+"/metrics"); !strings.Contains(metrics, "\ntaskfeed_tasks_stalled_total 2\n") {
		t.Error("taskfeed_tasks_stalled_total is not 2")
	}
}
