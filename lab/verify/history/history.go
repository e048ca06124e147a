// Package history defines and reads the record of a run of taskfeed-lab verify: what
// every actor did and saw, in one directory that can be checked at any later time.
//
// # Model
//
// Each actor is a process or a part of the harness. It alone appends to its file of
// JSON lines, a line at a time, so that a kill -9 loses at most its last line:
//
//	run.json          the parameters of the run (Header)
//	writer-*.jsonl    the writes of a writer (Write)
//	client-*.jsonl    what a client sent and received (Client)
//	truth.jsonl       the commits, as the write-ahead log shows them (Truth)
//	log.jsonl         the log of events at the end (Event)
//	messages.jsonl    the messages of users to the app, and how often it got them (Message)
//	hooks.jsonl       the requests of forwards to their receiver (Hook)
//	forwards.jsonl    the forwards, and what they had done at the end (Forward)
//	reads.jsonl       the read marks of users (Read)
//	faults.jsonl      the faults, and when they happened (Fault)
//	resources.jsonl   the resources that the servers used (Resource)
//	*.log             the logs of servers and Postgres, unchanged
//
// Moments are nanoseconds of a monotonic clock that all processes of a machine share
// (Now).
//
// The package does not interpret the records; package check judges them.
package history

import "slices"

// Header describes a run and how to repeat it.
type Header struct {
	Format   int    `json:"format"` // 1
	Seed     uint64 `json:"seed"`
	Command  string `json:"command"` // repeats the run
	Version  string `json:"version"` // of taskfeed
	Binary   string `json:"binary"`  // SHA-256 of the executable
	Postgres string `json:"postgres"`
	Started  string `json:"started"` // wall clock, for information
	Users    []User `json:"users"`
	// Marker is the op of the broadcast that ends the run, or the prefix of the ops of
	// the events that end it, one for each user: marker:user. A client that has seen it
	// has caught up. Empty when the run ended before.
	Marker string `json:"marker,omitempty"`
	// Truth is the source of the committed changes: "slot" or "writers".
	Truth string `json:"truth"`
	// Secrets must not occur in any log.
	Secrets []string `json:"secrets,omitempty"`
	// Faults are the names of the faults to run; NotRun says why others do not run.
	Faults []string          `json:"faults"`
	NotRun map[string]string `json:"not_run,omitempty"`
	// Paths must be taken at least once, by the names of package check;
	// LeastDeliveries is the minimum number of delivered events.
	Paths           []string `json:"paths,omitempty"`
	LeastDeliveries int64    `json:"least_deliveries"`
	// Performed is set once writers, clients and faults could begin.
	Performed bool `json:"performed,omitempty"`
	// MemoryLimit is the maximum memory of one server, in bytes.
	MemoryLimit int64 `json:"memory_limit"`
}

// User is a user whose tasks are written and whose feed is read. The canary is in each
// of the user's tasks and must not reach a user who does not see it.
type User struct {
	ID     string `json:"id"`
	Canary string `json:"canary"`
	// Feeds are further feeds that the user's tokens list, and so the user sees.
	Feeds []string `json:"feeds,omitempty"`
	// All means that the user is an admin who reads the events of all users.
	All bool `json:"all,omitempty"`
}

// Sees reports whether what belongs to an owner is shown to the user.
func (u User) Sees(owner string) bool {
	return u.All || owner == u.ID || slices.Contains(u.Feeds, owner)
}

// Outcome is how a write ended.
type Outcome string

// The outcomes of a write.
const (
	OK   Outcome = "ok"   // the commit was confirmed
	Fail Outcome = "fail" // it was rolled back or refused
	Info Outcome = "info" // unknown: the reply to the commit was lost
)

// Write is one change that a writer tried to make. The op is unique and part of the
// written data, so every event can be traced to its write.
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

// Kind is the kind of a client's record.
type Kind string

// The kinds of a client's records.
const (
	Start   Kind = "start"   // the first record: User, Traits
	Dial    Kind = "dial"    // a session begins: After, Proto, Server
	Open    Kind = "open"    // the server accepted the connection
	Refused Kind = "refused" // the server refused it: Status; 0 when there was no answer
	Frame   Kind = "frame"   // a message came: Text
	Close   Kind = "close"   // a close frame came: Code, Text
	Broken  Kind = "broken"  // the connection ended without a close frame: Text says how
	Quit    Kind = "quit"    // the client itself ended the session
	Mark    Kind = "mark"    // a stream moved the cursor without an event: After
	Answer  Kind = "answer"  // the REST API answered: Path, Status, Text
)

// Client is one record of a client.
type Client struct {
	T       int64  `json:"t"`
	Kind    Kind   `json:"kind"`
	Session int    `json:"session"`
	User    string `json:"user,omitempty"`    // start
	Traits  string `json:"traits,omitempty"`  // start: how it behaves
	Server  string `json:"server,omitempty"`  // dial
	Proto   string `json:"proto,omitempty"`   // dial: plain, after, v1, sse or rest
	After   *int64 `json:"after,omitempty"`   // dial: the cursor sent; mark, frame: the one that a stream named
	Path    string `json:"path,omitempty"`    // answer
	Status  int    `json:"status,omitempty"`  // refused, answer
	Code    int    `json:"code,omitempty"`    // close
	Skipped bool   `json:"skipped,omitempty"` // frame: not after the last one seen, so the client dropped it
	Text    string `json:"text,omitempty"`
}

// Truth is one line of truth.jsonl: a commit, or a fork of the database.
type Truth struct {
	Commit *Commit `json:"commit,omitempty"`
	Fork   *Fork   `json:"fork,omitempty"`
}

// Commit is one committed transaction; they are recorded in commit order.
type Commit struct {
	LSN    uint64 `json:"lsn"` // its end in the write-ahead log
	XID    uint32 `json:"xid"`
	Change int64  `json:"change,omitempty"` // lowest id among the changes captured in it
	Rows   []Row  `json:"rows,omitempty"`
}

// Fork means that the database continued as a copy that ends at LSN: a lagging standby,
// or a backup. Commits after LSN that are recorded before this line are lost.
type Fork struct {
	LSN uint64 `json:"lsn"`
}

// Row is one row that a commit wrote. A column is absent where the slot omits an
// unchanged value, and nil where it is null.
type Row struct {
	Table   string             `json:"table"`  // tasks, events, ops, jobs or marks
	Change  string             `json:"change"` // INSERT, UPDATE or DELETE
	Columns map[string]*string `json:"columns"`
}

// Event is one row of the log of events at the end.
type Event struct {
	ID      int64  `json:"id"`
	User    string `json:"user,omitempty"`
	Task    string `json:"task,omitempty"`
	Type    string `json:"type"`
	Version int64  `json:"version,omitempty"`
	Data    string `json:"data"`
}

// Message is a message of a user to the app, sent until it was answered.
type Message struct {
	Ref      string `json:"ref"`
	User     string `json:"user,omitempty"`
	T        int64  `json:"t,omitempty"`       // when it was sent first; 0: nobody sent it
	Acked    int64  `json:"acked,omitempty"`   // when it was acknowledged; 0: it was not
	Tries    int    `json:"tries,omitempty"`   // times that it was sent until then
	Again    bool   `json:"again,omitempty"`   // it was sent once more after that, as if the answer were lost
	Differs  string `json:"differs,omitempty"` // the answer to that, where it was another one
	Refused  string `json:"refused,omitempty"` // the code with which it was refused for good
	Received int    `json:"received"`          // times that the app has received it, by the database at the end
}

// Hook is one request of a forward to its receiver.
type Hook struct {
	T         int64  `json:"t"`
	End       int64  `json:"end"`     // when it was answered, or the forward had hung up
	Wall      int64  `json:"wall"`    // the time of T in nanoseconds of Unix time
	Forward   string `json:"forward"` // its name
	Process   string `json:"process"` // "retry" for the command of that name
	ID        string `json:"id"`
	Timestamp string `json:"timestamp"`
	Signature string `json:"signature"`
	Body      string `json:"body"`
	Answer    string `json:"answer"`         // how it was answered
	Took      bool   `json:"took,omitempty"` // the receiver has the event, whatever the forward knows of that
	Clear     bool   `json:"clear"`          // the forward was told so
}

// Forward is a forward of the log to the receiver.
type Forward struct {
	Name       string  `json:"name"`
	Key        string  `json:"key"`                   // signs, in base64
	UnlessRead int64   `json:"unless_read,omitempty"` // in nanoseconds
	Cursor     int64   `json:"cursor"`                // at the end
	Lost       int64   `json:"lost,omitempty"`        // ids, as the database counts them
	Failures   []int64 `json:"failures,omitempty"`    // events that were given up
	Left       []int64 `json:"left,omitempty"`        // of them, those that are failures after they were sent again
}

// Read is an attempt to move the read mark of a user. Begin and End are in nanoseconds of
// Unix time.
type Read struct {
	User    string `json:"user"`
	Through int64  `json:"through"`
	T       int64  `json:"t"` // of Begin, on the clock of the machine
	Begin   int64  `json:"begin"`
	End     int64  `json:"end"`
	OK      bool   `json:"ok,omitempty"` // it was answered: the mark is there
}

// Fault is one injection of a fault.
type Fault struct {
	Name   string `json:"name"`
	Target string `json:"target,omitempty"` // server, or client
	Begin  int64  `json:"begin"`
	End    int64  `json:"end"`
	// Fired means that it had its effect.
	Fired  bool   `json:"fired"`
	Detail string `json:"detail,omitempty"`
	// Wrong describes a violation that the fault itself found, such as a wrong exit
	// status; Breaks is the property that it violates, P13 by default.
	Wrong  string `json:"wrong,omitempty"`
	Breaks string `json:"breaks,omitempty"`
	// Expired is the id up to which retention has dropped events by End; 0 for other
	// faults.
	Expired int64 `json:"expired,omitempty"`
	// Try counts its injections, from 1.
	Try int `json:"try,omitempty"`
	// Phase is "alone", "beside" when it ran beside a fault of another part of the
	// system, "mixed", or "apart" when servers and clients do not feel it.
	Phase string `json:"phase,omitempty"`
}

// Resource is a sample of one server's resources.
type Resource struct {
	T           int64  `json:"t"`
	Server      string `json:"server"`
	Start       int64  `json:"start"` // when the process was started
	Phase       string `json:"phase"` // baseline, run, or end, when no client is connected and nothing is written
	Goroutines  int64  `json:"goroutines"`
	FDs         int64  `json:"fds"`
	Memory      int64  `json:"memory"` // resident, in bytes
	Connections int64  `json:"connections"`
	Backends    int64  `json:"backends"` // of all servers in Postgres
	Leader      bool   `json:"leader"`
	// Metrics that show which paths were taken.
	Replayed int64 `json:"replayed"`
	Resets   int64 `json:"resets"`
	Slow     int64 `json:"slow"`    // connections closed with 4008
	NoPong   int64 `json:"no_pong"` // connections closed with 4009
	Shed     int64 `json:"shed"`
	// Gateway is set for a gateway. What follows shows what the way from cores to gateways
	// has gone through.
	Gateway     bool  `json:"gateway,omitempty"`
	Gaps        int64 `json:"gaps,omitempty"`        // pages that filled gaps
	Reads       int64 `json:"reads,omitempty"`       // of the log, for clients
	Recalled    int64 `json:"recalled,omitempty"`    // events that clients got from the memory of recent ones
	Republished int64 `json:"republished,omitempty"` // times that a core went back to what was confirmed
}
