package taskfeed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Mark says how far a user has read: what is unread has an id greater than Through.
type Mark struct {
	UserID  string
	Through Cursor
}

// MaxUnread is how many unread events are counted.
const MaxUnread = 1000

// Unread is how many events lie beyond a user's mark, as far as they were counted.
type Unread struct {
	Through Cursor       `json:"through"` // the mark; 0 when nothing was ever marked as read
	Total   int          `json:"total"`   // at most MaxUnread
	More    bool         `json:"more"`    // there may be more than Total
	Types   map[Type]int `json:"types"`   // of these events, by type; each at most MaxUnread
}

// endings are the types of a task's end.
var endings = []Type{TypeTaskCompleted, TypeTaskFailed, TypeTaskCanceled}

// Notable reports whether events of the type count as unread unless other types are asked
// for: the end of a task does, and so do an app's own events.
func (t Type) Notable() bool {
	return slices.Contains(endings, t) || !strings.HasPrefix(string(t), "task_") && !strings.HasPrefix(string(t), "feed_")
}

// AppendRead appends a feed_read frame: the user's mark is at through.
func AppendRead(dst []byte, through Cursor) []byte {
	return fmt.Appendf(dst, `{"type":"feed_read","through":%d}`, through)
}

// AppendLiveUnread appends a feed_live frame with what is unread of the events up to its
// cursor.
func AppendLiveUnread(dst []byte, cursor Cursor, unread *Unread) []byte {
	var counts bytes.Buffer
	encoder := json.NewEncoder(&counts) // sorts the types
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(unread) // numbers and valid types can always be encoded
	return fmt.Appendf(dst, `{"type":"feed_live","cursor":%d,"unread":%s}`, cursor, bytes.TrimSpace(counts.Bytes()))
}

// AppendReadRefused appends a feed_read_refused frame: the mark that a client has sent was
// refused with a code.
func AppendReadRefused(dst []byte, code Code) []byte {
	return fmt.Appendf(dst, `{"type":"feed_read_refused","code":%q}`, code)
}
