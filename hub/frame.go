package hub

import (
	"time"

	"github.com/taskfeed/taskfeed"
)

// Frame is one frame ready to be written: an event, or one of the protocol's
// own (its Type is then taskfeed.TypeFeedLive or taskfeed.TypeFeedReset).
// Connections share frames: nobody may change one.
type Frame struct {
	// ID is the event's id; of a protocol frame, its cursor.
	ID taskfeed.Cursor
	// Type, UserID and TaskID are the event's; a protocol frame has a Type alone.
	// UserID is empty for a broadcast. It is not part of Bytes.
	Type   taskfeed.Type
	UserID string
	TaskID string
	// Timestamp is when the change was captured; zero in a protocol frame.
	Timestamp time.Time
	// Replayed means that the frame was read from the log or the recent log, so the time since
	// Timestamp is not the latency of live delivery.
	Replayed bool
	// Bytes is the frame as JSON, without a line end.
	Bytes []byte
}

const (
	// frameOverhead is about the memory of a recent frame besides its bytes.
	frameOverhead = 128
	// envelopeBytes is about what AppendFrame adds to an event's strings.
	envelopeBytes = 128
)

// cost is what the frame counts for in FeedBytes and RecentBytes.
func (f *Frame) cost() int { return len(f.Bytes) + frameOverhead }

func newFrame(e *taskfeed.Event) *Frame {
	size := envelopeBytes + len(e.Type) + len(e.TaskID) + len(e.Data)
	return &Frame{
		ID:        e.ID,
		Type:      e.Type,
		UserID:    e.UserID,
		TaskID:    e.TaskID,
		Timestamp: e.Timestamp,
		Bytes:     taskfeed.AppendFrame(make([]byte, 0, size), e),
	}
}

// replayFrames encodes a page of the log.
func replayFrames(events []taskfeed.Event) []*Frame {
	frames := make([]*Frame, len(events))
	for i := range events {
		frames[i] = newFrame(&events[i])
		frames[i].Replayed = true
	}
	return frames
}

func liveFrame(cursor taskfeed.Cursor) *Frame {
	return &Frame{ID: cursor, Type: taskfeed.TypeFeedLive, Bytes: taskfeed.AppendLive(nil, cursor)}
}

func resetFrame(reason taskfeed.ResetReason, cursor taskfeed.Cursor) *Frame {
	return &Frame{ID: cursor, Type: taskfeed.TypeFeedReset, Bytes: taskfeed.AppendReset(nil, reason, cursor)}
}
