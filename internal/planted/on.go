//go:build planted

package planted

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Built reports whether this build can make mistakes on purpose.
const Built = true

var (
	bug   = Bug(os.Getenv(Environ))
	times atomic.Int64 // that Now was asked
)

// nowAndThen is every how many times Now says yes: rarely, and yet some times in a
// short round.
var nowAndThen = map[Bug]int64{DropOne: 100, HastyReset: 5}

// Is reports whether the bug is the one to make.
func Is(b Bug) bool { return b == bug }

// Now is Is for a bug that is made now and then.
func Now(b Bug) bool { return b == bug && times.Add(1)%nowAndThen[b] == 0 }

// Dawdle takes its time before the bug, which makes it likely.
func Dawdle(b Bug) {
	if b == bug {
		time.Sleep(30 * time.Millisecond)
	}
}

// Key is what the hub knows a user by.
func Key(userID string) string {
	if bug == HubKeyCut {
		return userID[:min(len(userID), 8)]
	}
	return userID
}

// statements says what a bug makes of SQL: the first part is replaced by the
// second.
var statements = map[Bug][][2]string{
	PlainCursor: {{"OR xid = ANY (ARRAY(", "OR false AND xid = ANY (ARRAY("}},
	XidOrder: {
		{" AS data\n), \nappended", " AS data, xid\n), \nappended"},
		{"data, created_at FROM moved ORDER BY id) AS in_order", "data, created_at FROM moved ORDER BY xid, id) AS in_order"},
	},
	AsyncMove: {{"set_config('synchronous_commit', CASE WHEN", "set_config('synchronous_commit', CASE WHEN true THEN 'off' WHEN"}},
}

// SQL is the statement to run in the place of one that the bug changes.
func SQL(b Bug, statement string) string {
	if b != bug {
		return statement
	}
	for _, change := range statements[bug] {
		if !strings.Contains(statement, change[0]) {
			panic("planted: " + string(bug) + " has nothing to replace in\n" + statement)
		}
		statement = strings.Replace(statement, change[0], change[1], 1)
	}
	return statement
}

// Page is the frames to hand out in the place of some.
func Page[T any](frames []T) []T {
	last := len(frames) - 1
	switch {
	case last < 1:
	case bug == DoubledFrame:
		return append(slices.Clone(frames), frames[last])
	case bug == LiveOvertakes:
		return append([]T{frames[last]}, frames[:last]...)
	}
	return frames
}

var shared = make([]byte, 0, 1<<20)

// Buffer is where to encode a frame of about so many bytes.
func Buffer(size int) []byte {
	if bug == SharedBuffer {
		return shared[:0]
	}
	return make([]byte, 0, size)
}

// Bookmark is the cursor to name in the place of one.
func Bookmark[T ~int64](cursor T) T {
	if bug == EarlyBookmark {
		return cursor + 5
	}
	return cursor
}

// Leak leaves something behind.
func Leak() {
	if bug == LeakedHelper {
		go func() { select {} }()
	}
}
