package taskfeed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Types of frames that the protocol itself sends; they are no events and are
// not in the log.
const (
	// TypeFeedLive: the replay is over. Every event up to its cursor has been sent.
	TypeFeedLive Type = "feed_live"
	// TypeFeedReset: events were missed for good. The client drops its state,
	// reads the tasks again and goes on from the frame's cursor.
	TypeFeedReset Type = "feed_reset"
	// TypeFeedClosed: the stream ends, with a close code and a reason. It takes the
	// place of a close frame over SSE; WebSocket has close frames.
	TypeFeedClosed Type = "feed_closed"
	// TypeFeedRead: the user's read mark was moved, by another connection.
	TypeFeedRead Type = "feed_read"
	// TypeFeedReadRefused: the read mark that the client has sent was refused.
	TypeFeedReadRefused Type = "feed_read_refused"
)

// ResetReason says why a feed_reset was sent.
type ResetReason string

// The reasons for a reset.
const (
	// ResetExpired: the client's cursor is older than the log keeps.
	ResetExpired ResetReason = "expired"
	// ResetAhead: the client's cursor is beyond the head of the log.
	ResetAhead ResetReason = "ahead"
	// ResetSourceBroken: a change of an attached table could not be read. This one
	// is an event of the log, with an id and a timestamp, and names its source.
	ResetSourceBroken ResetReason = "source_broken"
)

// timestampLayout is RFC 3339 in UTC with the microseconds that Postgres keeps.
const timestampLayout = "2006-01-02T15:04:05.000000Z"

// AppendFrame appends the event as clients see it, one flat JSON object, and
// returns the extended buffer. Data must be a JSON object without the keys id,
// type, timestamp, task_id, version and feed; the schema sees to that.
func AppendFrame(dst []byte, e *Event) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, int64(e.ID), 10)
	dst = append(dst, `,"type":`...)
	dst = appendJSONString(dst, string(e.Type))
	dst = append(dst, `,"timestamp":"`...)
	dst = e.Timestamp.UTC().AppendFormat(dst, timestampLayout)
	dst = append(dst, '"')
	if e.TaskID != "" {
		dst = append(dst, `,"task_id":`...)
		dst = appendJSONString(dst, e.TaskID)
		dst = append(dst, `,"version":`...)
		dst = strconv.AppendInt(dst, e.Version, 10)
	}
	fields := bytes.TrimSpace(e.Data)
	if len(fields) > 2 && fields[0] == '{' {
		dst = append(dst, ',')
		return append(dst, fields[1:]...)
	}
	return append(dst, '}')
}

// AppendFeed appends the end of an event's frame, in the place of its last byte, for a
// client that sees the event in the feed of a group.
func AppendFeed(dst []byte, feed string) []byte {
	return append(appendJSONString(append(dst, `,"feed":`...), feed), '}')
}

// AppendLive appends a feed_live frame.
func AppendLive(dst []byte, cursor Cursor) []byte {
	return fmt.Appendf(dst, `{"type":"feed_live","cursor":%d}`, cursor)
}

// AppendReset appends a feed_reset frame. The client goes on from cursor.
func AppendReset(dst []byte, reason ResetReason, cursor Cursor) []byte {
	return fmt.Appendf(dst, `{"type":"feed_reset","reason":%q,"cursor":%d}`, reason, cursor)
}

// Frame is one frame as a client reads it: an event, or a frame of the protocol itself.
// Event is set unless Type begins with "feed_".
type Frame struct {
	Type   Type
	Event  Event       // its UserID is the group whose feed has it; empty in the user's own feed
	Cursor Cursor      // of feed_live and feed_reset; of feed_read, how far the user has read
	Reason ResetReason // of feed_reset
	Unread *Unread     // of feed_live, where the client asked for it
	Code   Code        // of feed_read_refused
}

// ParseFrame parses one frame. An event's other fields become its Data. It returns an
// error for anything that is not a frame.
func ParseFrame(b []byte) (Frame, error) {
	if !utf8.Valid(b) { // encoding/json accepts it, and not every WebSocket library checks
		return Frame{}, errors.New("parse frame: it is not UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return Frame{}, fmt.Errorf("parse frame: %w", err)
	}
	var f Frame
	var err error
	take := func(key string, into any) {
		raw, ok := fields[key]
		if !ok || err != nil {
			return
		}
		delete(fields, key)
		if e := json.Unmarshal(raw, into); e != nil {
			err = fmt.Errorf("parse frame: field %s: %w", key, e)
		}
	}
	take("type", &f.Type)
	switch {
	case err != nil:
		return Frame{}, err
	case f.Type == "":
		return Frame{}, errors.New("parse frame: it has no type")
	case f.Type == TypeFeedLive || f.Type == TypeFeedReset:
		take("cursor", &f.Cursor)
		take("reason", &f.Reason)
		take("unread", &f.Unread)
		return f, err
	case f.Type == TypeFeedRead:
		take("through", &f.Cursor)
		return f, err
	case f.Type == TypeFeedReadRefused:
		take("code", &f.Code)
		return f, err
	}
	var stamp string
	f.Event.Type = f.Type
	take("id", &f.Event.ID)
	take("timestamp", &stamp)
	take("task_id", &f.Event.TaskID)
	take("version", &f.Event.Version)
	take("feed", &f.Event.UserID)
	if err != nil {
		return Frame{}, err
	}
	if f.Event.ID < 1 || f.Event.ID > MaxID {
		return Frame{}, fmt.Errorf("parse frame: id %d is not between 1 and %d", f.Event.ID, int64(MaxID))
	}
	if f.Event.Timestamp, err = time.Parse(time.RFC3339Nano, stamp); err != nil {
		return Frame{}, fmt.Errorf("parse frame: %w", err)
	}
	if f.Event.Data, err = json.Marshal(fields); err != nil {
		return Frame{}, fmt.Errorf("parse frame: %w", err)
	}
	return f, nil
}

// appendJSONString appends s as a JSON string (RFC 8259 section 7). Bytes that
// are not UTF-8 become U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20 || r == 0x7f || r == 0x2028 || r == 0x2029:
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
