package history_test

import (
	"reflect"
	"testing"

	"github.com/taskfeed/taskfeed"
)

// sqlUnread is twelve events: of alice, a group, everybody and a stranger.
const sqlUnread = `
INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at) VALUES
    (1, 'alice', 't', 'task_queued', 1, '{}', now()), (2, 'alice', 't', 'task_started', 2, '{}', now()),
    (3, 'alice', 't', 'task_progress', 3, '{}', now()), (4, 'alice', 't', 'task_completed', 4, '{}', now()),
    (5, 'alice', NULL, 'mail', NULL, '{}', now()), (6, 'team', 'g', 'task_failed', 1, '{}', now()),
    (7, 'team', 'g', 'task_deleted', 2, '{}', now()), (8, NULL, NULL, 'news', NULL, '{}', now()),
    (9, 'bob', NULL, 'mail', NULL, '{}', now()), (10, 'alice', NULL, 'mail', NULL, '{}', now()),
    (11, NULL, NULL, 'feed_reset', NULL, '{}', now()), (12, 'alice', 'c', 'task_canceled', 1, '{}', now())`

func TestUnread(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, sqlUnread)
	exec(t, f.app, `INSERT INTO taskfeed.read_marks (user_id, through) VALUES ('bob', 9), ('carol', 4), ('team', 12)`)
	type counts = map[taskfeed.Type]int
	for name, c := range map[string]struct {
		reader  string
		filter  taskfeed.Filter
		through taskfeed.Cursor
		want    taskfeed.Unread
	}{
		"nothing was read yet": {"alice", taskfeed.Filter{UserID: "alice"}, taskfeed.MaxID,
			taskfeed.Unread{Total: 5, Types: counts{"task_completed": 1, "task_canceled": 1, "mail": 2, "news": 1}}},
		"groups too": {"alice", taskfeed.Filter{UserID: "alice", Feeds: []string{"team", "empty"}}, taskfeed.MaxID,
			taskfeed.Unread{Total: 6, Types: counts{"task_completed": 1, "task_canceled": 1, "task_failed": 1, "mail": 2, "news": 1}}},
		"a group alone counts from the reader's mark": {"carol", taskfeed.Filter{UserID: "team"}, taskfeed.MaxID,
			taskfeed.Unread{Through: 4, Total: 2, Types: counts{"task_failed": 1, "news": 1}}},
		"up to an event": {"alice", taskfeed.Filter{UserID: "alice"}, 5,
			taskfeed.Unread{Total: 2, Types: counts{"task_completed": 1, "mail": 1}}},
		"of some types": {"alice", taskfeed.Filter{UserID: "alice", Types: []taskfeed.Type{"task_progress", "mail"}}, taskfeed.MaxID,
			taskfeed.Unread{Total: 3, Types: counts{"task_progress": 1, "mail": 2}}},
		"everything was read": {"bob", taskfeed.Filter{UserID: "bob"}, taskfeed.MaxID, taskfeed.Unread{Through: 9, Types: counts{}}},
	} {
		got, err := f.history.Unread(t.Context(), c.reader, c.filter, c.through)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

// Counting ends after a bounded number of events, whatever they are, and says so.
func TestUnreadIsBounded(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `INSERT INTO taskfeed.events (id, user_id, type, data, created_at)
		SELECT i, 'alice', CASE WHEN i % 3 = 0 THEN 'mail' ELSE 'task_progress' END, '{}', now() FROM generate_series(1, 7000) AS i`)
	exec(t, f.app, `INSERT INTO taskfeed.events (id, user_id, type, data, created_at)
		SELECT i, 'busy', CASE WHEN i = 20000 THEN 'mail' ELSE 'task_progress' END, '{}', now() FROM generate_series(10000, 20000) AS i`)
	for _, c := range []struct {
		user  string
		total int
		more  bool
	}{{"alice", taskfeed.MaxUnread, true}, {"busy", 0, true}} {
		u, err := f.history.Unread(t.Context(), c.user, taskfeed.Filter{UserID: c.user}, taskfeed.MaxID)
		if err != nil || u.Total != c.total || u.More != c.more || u.Types["mail"] > taskfeed.MaxUnread {
			t.Errorf("%s: got %+v, %v, want total %d and more %t", c.user, u, err, c.total, c.more)
		}
	}
	exec(t, f.app, `INSERT INTO taskfeed.read_marks (user_id, through) VALUES ('alice', 4000)`)
	u, err := f.history.Unread(t.Context(), "alice", taskfeed.Filter{UserID: "alice"}, 7000)
	if err != nil || u.Total != taskfeed.MaxUnread || u.More {
		t.Errorf("a thousand: got %+v, %v, want them and no more", u, err)
	}
}
