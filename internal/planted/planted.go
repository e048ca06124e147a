// Package planted holds mistakes that the servers of a build with the tag
// "planted" make when they are told to, so that taskfeed verify can be seen to
// catch them:
//
//	go build -tags planted -o bin/taskfeed-planted ./cmd/taskfeed
//	bin/taskfeed-planted verify --planted all
//
// # Model
//
// A bug has a name. Environ names the one that a process makes; a process without
// it makes none. Where a bug would be made stands a call of this package. Without
// the tag those are constants and functions that return what they are given, which
// the compiler leaves out.
//
// The package does not say how a bug is caught: lab/verify does.
package planted

// Bug is the name of a mistake.
type Bug string

// Environ is the variable of the environment that names the bug to make. It does
// not begin like a setting, because it is none.
const Environ = "PLANTED_BUG"

// The mistakes, each named for what goes wrong.
const (
	DropOne       Bug = "drop-one"       // one of some fan-outs does not take place
	AtCursor      Bug = "at-cursor"      // a feed goes on at its cursor, not after it: >= for >
	ReplayFirst   Bug = "replay-first"   // the log is read before the subscriber is registered
	HubKeyCut     Bug = "hub-key-cut"    // the hub knows users by the first bytes of their ids
	DropOldest    Bug = "drop-oldest"    // frames that are shed are not asked of the log again
	SilentTrim    Bug = "silent-trim"    // what has expired is skipped without a feed_reset
	HastyReset    Bug = "hasty-reset"    // a feed_reset that nothing justifies
	DoubledFrame  Bug = "doubled-frame"  // the last frame of a replayed page comes twice
	LiveOvertakes Bug = "live-overtakes" // the last frame of a replayed page comes first
	SharedBuffer  Bug = "shared-buffer"  // frames are encoded into memory of earlier ones
	EarlyBookmark Bug = "early-bookmark" // feed_live names a cursor that has not been reached
	EarlyComment  Bug = "early-comment"  // a stream's comment names an event that is yet to be written
	PlainCursor   Bug = "plain-cursor"   // changes are read by a cursor, so that late commits are passed over
	XidOrder      Bug = "xid-order"      // a batch is numbered in the order of transaction ids
	AsyncMove     Bug = "async-move"     // the move does not wait for the disk
	IDsReused     Bug = "ids-reused"     // ids do not jump when the database is another one
	NoFinalLook   Bug = "no-final-look"  // the sequencer sleeps without a look after arming
	DeadFirst     Bug = "dead-first"     // a leader reads all that is dead before it serves
	NoCatchUp     Bug = "no-catch-up"    // a new session does not read what it has missed
	AdminView     Bug = "admin-view"     // users are shown what admins are
	TokenInLog    Bug = "token-in-log"   // the access log has URLs as they came
	LeakedHelper  Bug = "leaked-helper"  // every connection leaves a goroutine behind
	NoGoodbye     Bug = "no-goodbye"     // a server that is stopped cuts its connections
	BlockingLog   Bug = "blocking-log"   // whoever logs waits for whoever reads the log
)
