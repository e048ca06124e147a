package feeds

import (
	"context"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
)

// unreadTime is how long a feed_live waits for the number of unread events.
const unreadTime = 2 * time.Second

// wantsUnread reads the parameter unread, which asks for the number of unread events in
// feed_live.
func (f *Feeds) wantsUnread(p *request.Params, taskID string) bool {
	wants := p.Flag("unread")
	switch {
	case wants && taskID != "":
		p.Refuse("unread", "cannot stand beside task_id: what is unread is counted over whole feeds")
	case wants && f.deps.Marks == nil:
		p.Refuse("unread", "is not known to this server, which keeps no read marks")
	}
	return wants
}

// endsReplay reports whether the last of the frames is feed_live.
func endsReplay(frames []*hub.Frame) bool { return frames[len(frames)-1].Type == taskfeed.TypeFeedLive }

// countUnread has the last of the frames, a feed_live, say how many events up to its cursor
// are unread in the feeds of the connection. If that takes too long, the frame stays as it
// is: the client can ask for the number.
func (f *Feeds) countUnread(frames []*hub.Frame, reader string, sub *hub.Subscriber) {
	ctx, stop := context.WithTimeout(context.Background(), unreadTime)
	defer stop()
	live := frames[len(frames)-1]
	unread, err := f.deps.Marks.Unread(ctx, reader, sub.Filter(), live.ID)
	if err != nil {
		f.log.Warn("unread events not counted", "error", err)
		return
	}
	counted := *live
	counted.Bytes = taskfeed.AppendLiveUnread(nil, live.ID, &unread)
	frames[len(frames)-1] = &counted
}
