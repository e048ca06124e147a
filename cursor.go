package taskfeed

import "strconv"

// MaxID is the greatest event ID: the greatest integer that a number in JavaScript
// represents exactly (ECMA-262, Number.MAX_SAFE_INTEGER).
const MaxID = 1<<53 - 1

// Cursor is the ID of the last event that a client has handled. Zero is before every
// event. Cursors compare as integers.
type Cursor int64

// ParseCursor parses decimal digits, at most [MaxID]. It returns CodeBadCursor for
// anything else.
func ParseCursor(s string) (Cursor, error) {
	if len(s) == 0 || len(s) > 16 {
		return 0, errBadCursor
	}
	var n int64
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, errBadCursor
		}
		n = n*10 + int64(c-'0')
	}
	if n > MaxID {
		return 0, errBadCursor
	}
	return Cursor(n), nil
}

// String prints the cursor in decimal.
func (c Cursor) String() string { return strconv.FormatInt(int64(c), 10) }

var errBadCursor = &Error{
	Code:    CodeBadCursor,
	Message: "a cursor is the id of an event: digits only, from 0 to 9007199254740991",
}
