package hub

import "github.com/taskfeed/taskfeed"

// compaction finds out which events of tasks no longer matter to who reads them late. It
// is asked about events from the newest to the oldest: one matters if no later one of its
// task weighs as much.
type compaction map[taskOf]int

// taskOf is a task in the feed of one user.
type taskOf struct{ user, id string }

// matters reports whether an event matters that is older than those before.
func (c compaction) matters(user, task string, kind taskfeed.Type) bool {
	weight := kind.Weight()
	if weight == taskfeed.WeightNone || task == "" {
		return true
	}
	key := taskOf{user, task}
	if weight <= c[key] {
		return false
	}
	c[key] = weight
	return true
}

// needless returns the frames in the lists that no longer matter to s, which replays them
// and wants no more than it needs. Each task has all its frames in one list.
func (s *Subscriber) needless(lists [][]entry) map[*Frame]bool {
	if !s.replays {
		return nil
	}
	drop, seen := make(map[*Frame]bool), make(compaction)
	for _, list := range lists {
		for i := len(list) - 1; i >= 0; i-- {
			if f := list[i].frame; s.wants(f) && !seen.matters(f.UserID, f.TaskID, f.Type) {
				drop[f] = true
			}
		}
	}
	return drop
}
