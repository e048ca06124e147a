package history

import (
	"time"

	"github.com/taskfeed/taskfeed"
)

// MaxPageLimit is the most items that a page may be asked to hold.
const MaxPageLimit = 500

// Sort is the order of a list.
type Sort string

// The orders. A leading "-" means newest first.
const (
	SortCreated     Sort = "created"
	SortCreatedDesc Sort = "-created"
	SortUpdated     Sort = "updated"
	SortUpdatedDesc Sort = "-updated"
	SortID          Sort = "id"
	SortIDDesc      Sort = "-id"
)

// TimeRange is a half-open span of time: From <= t < To. A zero bound is open.
type TimeRange struct{ From, To time.Time }

// TaskQuery selects tasks. Empty fields select all.
type TaskQuery struct {
	UserID   string
	Feeds    []string          // with UserID: groups whose tasks are selected too
	Statuses []taskfeed.Status // any of these
	Kind     string
	Source   string // the attached table whose rows they are
	Created  TimeRange
	Updated  TimeRange
	Text     string // contained in id, message or error, whatever the case
	Sort     Sort   // by created or updated; default SortCreatedDesc
	After    string // Next of the page before; empty for the first page
	Limit    int    // from 1 to MaxPageLimit
}

// TaskPage is one page of tasks. It may hold fewer than asked for when they are large;
// Next is empty on the last page only. Sorted by created, the pages show every task
// that exists throughout exactly once. Sorted by updated, a task that changes meanwhile
// moves, and may be shown twice or not at all.
type TaskPage struct {
	Items []taskfeed.Task
	Next  string
	// Cursor is set for the first page: every change of the tasks that this page
	// and later ones do not show has an event after it. Who shows the tasks,
	// subscribes after Cursor, applies events whose version is greater than that
	// of the task they are about, and forgets a task and its version when it is
	// deleted, arrives at what the table holds. An event of type task_progress
	// does not make an unknown task known. This asks for a sort by created and
	// for no filter by Updated or Text, which progress may enter and leave.
	Cursor taskfeed.Cursor
}

// WholeTask is a task whose large fields are empty and named in Large.
type WholeTask struct {
	taskfeed.Task
	Large []LargeField
}

// LargeField names a field of a task that is read in pieces. The mark is a hash of its
// text.
type LargeField struct {
	Name string
	Mark int64
}

// EventQuery selects events of the log. Empty fields select all. With a time range the
// order is by timestamp, without one by id. The two orders differ only where a
// transaction was long.
type EventQuery struct {
	UserID           string
	Feeds            []string // with UserID: groups whose events are selected too
	IncludeBroadcast bool     // with UserID: broadcasts too, as the user was sent them
	TaskID           string
	Types            []taskfeed.Type
	Time             TimeRange
	Sort             Sort   // SortID or SortIDDesc; default SortIDDesc
	After            string // Next of the page before; empty for the first page
	Limit            int    // from 1 to MaxPageLimit
}

// EventPage is one page of events. It may hold fewer than asked for when they are
// large, and fewer or none when the query leaves out many events in between; Next is
// empty on the last page only.
type EventPage struct {
	Items []taskfeed.Event
	Next  string
}

// Timeline is one page of the events of one task, oldest first.
type Timeline struct {
	EventPage
	Previous time.Time    // Timestamp of the event before the first one here; zero when there is none
	Summary  *TaskSummary // with the first page
}

// TaskSummary sums up a task's events as far as the log keeps them.
type TaskSummary struct {
	Events        int           // of this task
	ProgressSteps int           // events of type task_progress
	Attempts      int           // times that it was started
	Queued        time.Duration // time spent queued, until now if it still is
	Running       time.Duration // time spent running, until now if it still is
	First, Last   time.Time     // of its events; zero when there are none
}

// StatusCount is how many tasks of a kind and source have a status.
type StatusCount struct {
	Status taskfeed.Status
	Kind   string
	Source string
	Count  int64
}

// MinuteCount is how many events were captured in the minute that begins at Minute.
type MinuteCount struct {
	Minute time.Time
	Count  int64
}

// Stats is an overview of the tasks and of the log.
type Stats struct {
	Counts        []StatusCount
	PerMinute     []MinuteCount  // the last hour, oldest first, with empty minutes
	OldestRunning *taskfeed.Task // the running task that was created first; nil when none runs
}
