// Package history is what a run of taskfeed-lab verify leaves behind: what every
// actor did and saw, in one directory that can be checked at any later time.
//
// # Model
//
// Each actor is a process or a part of the harness and has one file of JSON
// lines that it alone appends to, a line at a time, so that a kill -9 costs at
// most its last line:
//
//	run.json          what the run was (Header)
//	writer-*.jsonl    what a writer tried (Write)
//	client-*.jsonl    what a client sent, got and saw (Client)
//	truth.jsonl       what committed, as the database's own log shows it (Truth)
//	log.jsonl         the log of events as it stood in the end (Event)
//	faults.jsonl      what was done to the system, and when (Fault)
//	resources.jsonl   what the servers used (Resource)
//	*.log             what servers and Postgres logged, as it is
//
// Moments are nanoseconds of a clock that all processes of a machine share and
// nobody can set (Now).
//
// The package promises nothing about what the records mean; package check does
// the judging.
package history

// Header says what a run was and how to repeat it.
type Header struct {
	Format   int    `json:"format"` // 1
	Seed     uint64 `json:"seed"`
	Command  string `json:"command"` // that repeats the run
	Version  string `json:"version"` // of taskfeed
	Binary   string `json:"binary"`  // SHA-256 of the executable
	Postgres string `json:"postgres"`
	Started  string `json:"started"` // wall clock, for people
	Users    []User `json:"users"`
	// Marker is the op of the broadcast that ends the run, or begins those of the
	// events that end it, one for each user: marker:user. Who has seen it has
	// caught up. Empty when the run did not come so far.
	Marker string `json:"marker,omitempty"`
	// Truth is where the committed changes are known from: "slot" or "writers".
	Truth string `json:"truth"`
	// Secrets must not occur in any log.
	Secrets []string `json:"secrets,omitempty"`
	// Faults are the names of those asked for; NotRun says why others were not.
	Faults []string          `json:"faults"`
	NotRun map[string]string `json:"not_run,omitempty"`
	// Paths are those that must be taken at least once, by the names of package
	// check; LeastDeliveries is how many events must be delivered.
	Paths           []string `json:"paths,omitempty"`
	LeastDeliveries int64    `json:"least_deliveries"`
	// Performed says that the run has begun to do something.
	Performed bool `json:"performed,omitempty"`
	// MemoryLimit is what one server may use in bytes.
	MemoryLimit int64 `json:"memory_limit"`
}

// User is one whose tasks are written and whose feed is read. The canary is in
// each of the user's tasks and must not reach anybody else.
type User struct {
	ID     string `json:"id"`
	Canary string `json:"canary"`
}

// Outcome is how a write ended.
type Outcome string

// The outcomes of a write.
const (
	OK   Outcome = "ok"   // the commit was confirmed
	Fail Outcome = "fail" // it was rolled back or refused
	Info Outcome = "info" // nobody knows: the reply to the commit was lost
)

// Write is one change that a writer tried to make. The op is unique and part of
// what is written, so every event can be traced to it.
type Write struct {
	Op      string  `json:"op"`
	Writer  string  `json:"writer"`
	Txn     int     `json:"txn"` // ops of one transaction share it
	User    string  `json:"user"`
	Task    string  `json:"task,omitempty"`
	Action  string  `json:"action"`
	Begin   int64   `json:"begin"` // before the transaction's first statement
	End     int64   `json:"end"`   // after the reply to its last one
	Outcome Outcome `json:"outcome"`
	Async   bool    `json:"async,omitempty"` // synchronous_commit was off
	Error   string  `json:"error,omitempty"`
}

// Kind says what a client's record is about.
type Kind string

// The kinds of a client's records.
const (
	Start   Kind = "start"   // the first: who the client is
	Dial    Kind = "dial"    // a session begins: After, Proto, Server
	Open    Kind = "open"    // the server agreed
	Refused Kind = "refused" // it did not: Status; 0 when there was no answer
	Frame   Kind = "frame"   // a message came: Text
	Close   Kind = "close"   // a close frame came: Code, Text
	Broken  Kind = "broken"  // the connection ended without one: Text says how
	Quit    Kind = "quit"    // the client itself ended the session
	Mark    Kind = "mark"    // a stream moved the cursor without an event: After
	Answer  Kind = "answer"  // the REST API answered: Path, Status, Text
)

// Client is one thing that happened to a client.
type Client struct {
	T       int64  `json:"t"`
	Kind    Kind   `json:"kind"`
	Session int    `json:"session"`
	User    string `json:"user,omitempty"`    // start
	Traits  string `json:"traits,omitempty"`  // start: how it behaves, for people and for the table of codes
	Server  string `json:"server,omitempty"`  // dial
	Proto   string `json:"proto,omitempty"`   // dial: plain, after, v1, sse or rest
	After   *int64 `json:"after,omitempty"`   // dial: the cursor sent; mark, frame: the one that a stream named
	Path    string `json:"path,omitempty"`    // answer
	Status  int    `json:"status,omitempty"`  // refused, answer
	Code    int    `json:"code,omitempty"`    // close
	Skipped bool   `json:"skipped,omitempty"` // frame: not after the last one seen, so the client dropped it
	Text    string `json:"text,omitempty"`
}

// Truth is one line of what the database itself says: a commit, or that the
// database became a copy of itself.
type Truth struct {
	Commit *Commit `json:"commit,omitempty"`
	Fork   *Fork   `json:"fork,omitempty"`
}

// Commit is one committed transaction; they are recorded in commit order.
type Commit struct {
	LSN    uint64 `json:"lsn"` // where it ends in the write-ahead log
	XID    uint32 `json:"xid"`
	Change int64  `json:"change,omitempty"` // lowest id among the changes captured in it
	Rows   []Row  `json:"rows,omitempty"`
}

// Fork says that the database went on as a copy that ends at LSN: a standby that
// lagged, or a backup. What committed after LSN before this line is lost.
type Fork struct {
	LSN uint64 `json:"lsn"`
}

// Row is one row that a commit wrote. A column is absent where the database
// does not repeat it, and nil where it is null.
type Row struct {
	Table   string             `json:"table"`  // tasks, events or ops
	Change  string             `json:"change"` // INSERT, UPDATE or DELETE
	Columns map[string]*string `json:"columns"`
}

// Event is one row of the log of events as it stood in the end.
type Event struct {
	ID      int64  `json:"id"`
	User    string `json:"user,omitempty"`
	Task    string `json:"task,omitempty"`
	Type    string `json:"type"`
	Version int64  `json:"version,omitempty"`
	Data    string `json:"data"`
}

// Fault is something that was done to the system.
type Fault struct {
	Name   string `json:"name"`
	Target string `json:"target,omitempty"` // server, or client
	Begin  int64  `json:"begin"`
	End    int64  `json:"end"`
	// Fired says that it had its effect.
	Fired  bool   `json:"fired"`
	Detail string `json:"detail,omitempty"`
	// Wrong says what the fault itself found that must not be, such as an exit
	// status; Breaks is the property that it breaks, P13 by default.
	Wrong  string `json:"wrong,omitempty"`
	Breaks string `json:"breaks,omitempty"`
	// Expired is the id up to which retention has dropped events by End; 0 when
	// the fault has nothing to do with it.
	Expired int64 `json:"expired,omitempty"`
	// Try is how often it was tried by then.
	Try int `json:"try,omitempty"`
	// Phase is "alone" or "mixed".
	Phase string `json:"phase,omitempty"`
}

// Resource is what one server used at one moment.
type Resource struct {
	T           int64  `json:"t"`
	Server      string `json:"server"`
	Start       int64  `json:"start"` // when the process was started
	Phase       string `json:"phase"` // baseline, run, or end: nobody is connected and nothing is written
	Goroutines  int64  `json:"goroutines"`
	FDs         int64  `json:"fds"`
	Memory      int64  `json:"memory"` // resident, in bytes
	Connections int64  `json:"connections"`
	Backends    int64  `json:"backends"` // of all servers in Postgres
	Leader      bool   `json:"leader"`
	// Figures of /metrics that the harness wants taken at least once.
	Replayed int64 `json:"replayed"`
	Resets   int64 `json:"resets"`
	Slow     int64 `json:"slow"`    // connections closed with 4008
	NoPong   int64 `json:"no_pong"` // connections closed with 4009
	Shed     int64 `json:"shed"`
}
