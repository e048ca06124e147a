package store_test

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/plans"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestFeedStatements shows the statements that read a feed, with their plans: a change
// of either is a change of a golden file.
func TestFeedStatements(t *testing.T) {
	t.Parallel()
	f := setup(t)
	fillPartitions(t, f, 1, 20_000)
	recorded := &plans.Recorder{}
	feeds := f.store.Feeds()
	unwatched := feeds.Conns
	feeds.Conns = recorded.Watch(t, unwatched)
	t.Cleanup(func() { feeds.Conns = unwatched })
	types := []taskfeed.Type{taskfeed.TypeTaskQueued}
	for name, filter := range map[string]taskfeed.Filter{
		"user": {UserID: "user7"}, "user_types": {UserID: "user7", Types: types}, "user_task": {UserID: "user7", TaskID: "task7"},
		"groups": {UserID: "user7", Feeds: []string{"user8", "user9"}}, "groups_types": {UserID: "user7", Feeds: []string{"user8"}, Types: types},
		"groups_task":  {UserID: "user7", Feeds: []string{"user8"}, TaskID: "task7"},
		"user_compact": {UserID: "user7", Compact: true}, "groups_compact": {UserID: "user7", Feeds: []string{"user8"}, Types: types, Compact: true}, "all_compact": {All: true, Compact: true},
		"all": {All: true}, "all_types": {All: true, Types: types}, "all_task": {All: true, TaskID: "task7"},
	} {
		recorded.Take()
		if _, _, _, err := f.store.After(t.Context(), filter, 100, 50); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		plans.Golden(t, f.app, filepath.Join("testdata", "sql", "feed_"+name+".sql"), "A page of a feed: "+name+".", recorded.Take(), *update)
	}
}
