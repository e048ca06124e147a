package feeds

import (
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
)

// feedFilter returns the filter that a stream of the principal asks for, whose own feed it
// is, and whether feed_live is to count unread events. Only admins may ask for another
// user's feed or for all of them.
func (fs *Feeds) feedFilter(p *request.Params, principal auth.Principal) (f taskfeed.Filter, owner string, unread bool, err error) {
	userID, all, feeds := p.Text("user_id"), p.Flag("all"), p.IDs("feed")
	narrow(p, &f)
	unread = fs.wantsUnread(p, f.TaskID)
	if userID != "" && all {
		p.Refuse("all", "cannot stand beside user_id; choose one of them")
	}
	if (userID != "" || all) && len(feeds) > 0 {
		p.Refuse("feed", "cannot stand beside user_id or all; choose one of them")
	}
	if (userID != "" || all) && unread {
		p.Refuse("unread", "cannot stand beside user_id or all: read marks are of the user's own feeds")
	}
	if err := p.IgnoreUnread(); err != nil {
		return f, "", false, err
	}
	if (userID != "" || all) && !principal.Admin() {
		return f, "", false, errAdminFeed
	}
	f.All = all
	if userID != "" {
		f.UserID = userID
		return f, userID, false, nil
	}
	var ok bool
	if f.UserID, f.Feeds, ok = principal.Choose(feeds); !ok {
		return f, "", false, request.ErrFeed
	}
	return f, principal.UserID, unread, nil
}

var errAdminFeed = &taskfeed.Error{Code: taskfeed.CodeForbidden,
	Message: `user_id and all take a token with the role "admin"; leave them out to get the user's own feed`}

// narrow reads the parameters that filter any feed.
func narrow(p *request.Params, f *taskfeed.Filter) {
	f.Types = p.Types("types")
	f.TaskID = p.Text("task_id")
	f.Compact = p.Flag("compact")
}

// groupsOf returns the feeds that a subscriber sees besides its owner's own.
func groupsOf(sub *hub.Subscriber, owner string) (groups []string) {
	f := sub.Filter()
	if f.All {
		return nil
	}
	if f.UserID != owner {
		groups = append(groups, f.UserID)
	}
	for _, id := range f.Feeds {
		if id != owner {
			groups = append(groups, id)
		}
	}
	return groups
}
