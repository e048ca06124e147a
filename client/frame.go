package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed"
)

// readFrame parses one text frame. It returns false for a frame of a later version of the
// protocol that this client may ignore because it has no event: an object without an id,
// a type that begins with "feed_", and the word pong. Anything else that cannot be parsed
// is ErrProtocol; ignoring it could lose an event.
func readFrame(text []byte) (taskfeed.Frame, bool, error) {
	frame, err := taskfeed.ParseFrame(text)
	if err != nil {
		if passable(text) {
			return taskfeed.Frame{}, false, nil
		}
		return taskfeed.Frame{}, false, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if protocol := frame.Type == taskfeed.TypeFeedLive || frame.Type == taskfeed.TypeFeedReset; protocol && !inRange(frame.Cursor) {
		return taskfeed.Frame{}, false, fmt.Errorf("%w: the cursor %d of a %s is no event's id", ErrProtocol, frame.Cursor, frame.Type)
	}
	return frame, true, nil
}

func passable(text []byte) bool {
	if string(bytes.TrimSpace(text)) == "pong" {
		return true
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil || fields == nil {
		return false
	}
	var kind string
	_ = json.Unmarshal(fields["type"], &kind) // a type that is not a text is unknown
	needed := []string{string(taskfeed.TypeFeedLive), string(taskfeed.TypeFeedReset)}
	if slices.Contains(needed, kind) {
		return false
	}
	_, hasID := fields["id"]
	return !hasID || strings.HasPrefix(kind, "feed_")
}
