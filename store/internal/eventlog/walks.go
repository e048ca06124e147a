package eventlog

import (
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/walk"
)

// Table is the log.
const Table = "taskfeed.events"

const quota = `(@quotas::int[])[place]`

// Users are the user and the groups of a filter, as @users.
func Users(userID string, feeds []string) []string { return append([]string{userID}, feeds...) }

// Walks returns the indexes that have the events of a filter, each in the order of
// ids: those of one task, of a user and groups, or all. Its types are not looked at. One
// scan with OR instead of two walks would have to choose between reading everybody's
// events and sorting. The arguments are @user_id and @task_id. A filter with groups takes
// @users, which are [Users], and, for a walk with a quota, @quotas: one for each of them.
func Walks(f taskfeed.Filter, broadcasts bool) []walk.Walk {
	var own, toAll walk.Walk
	switch {
	case f.TaskID != "" && f.All:
		own = walk.Walk{Where: []string{ofTask, "user_id = owner"}, By: []string{"task_id", "id"}, Repeat: forEachOwner}
	case f.TaskID != "" && len(f.Feeds) > 0:
		own = walk.Walk{Where: []string{ofTask, "user_id = owner"}, By: []string{"task_id", "id"}, Repeat: walk.ForEachUser, Quota: quota}
	case f.TaskID != "":
		own = walk.Walk{Where: []string{ofTask, "user_id = @user_id"}, By: []string{"task_id", "id"}}
	case f.All:
		return []walk.Walk{{By: []string{"id"}}}
	case len(f.Feeds) > 0:
		own = walk.Walk{Where: []string{walk.Pinned("user_id", "owner")}, By: []string{"user_id", "id"}, Repeat: walk.ForEachUser, Quota: quota}
	default:
		own = walk.Walk{Where: []string{walk.Pinned("user_id", "@user_id")}, By: []string{"user_id", "id"}}
	}
	if !broadcasts {
		return []walk.Walk{own}
	}
	// user_id is null in all of these rows, but in the order the planner needs it to
	// take this index and no other.
	if f.TaskID != "" {
		toAll = walk.Walk{Where: []string{ofTask, "user_id IS NULL"}, By: []string{"task_id", "user_id", "id"}}
	} else {
		toAll = walk.Walk{Where: []string{"user_id IS NULL"}, By: []string{"user_id", "id"}}
	}
	return []walk.Walk{own, toAll}
}
