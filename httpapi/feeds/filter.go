package feeds

import (
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// feedFilter returns the filter that a stream of the principal asks for. Only admins may ask for another user's feed or for all of them.
func feedFilter(p *request.Params, principal auth.Principal) (taskfeed.Filter, error) {
	f := taskfeed.Filter{UserID: principal.UserID}
	userID, all := p.Text("user_id"), p.Flag("all")
	narrow(p, &f)
	if userID != "" && all {
		p.Refuse("all", "cannot stand beside user_id; choose one of them")
	}
	if err := p.IgnoreUnread(); err != nil {
		return f, err
	}
	if (userID != "" || all) && !principal.Admin() {
		return f, errAdminFeed
	}
	if userID != "" {
		f.UserID = userID
	}
	f.All = all
	return f, nil
}

var errAdminFeed = &taskfeed.Error{Code: taskfeed.CodeForbidden,
	Message: `user_id and all take a token with the role "admin"; leave them out to get the user's own feed`}

// narrow reads the parameters that filter any feed.
func narrow(p *request.Params, f *taskfeed.Filter) {
	f.Types = p.Types("types")
	f.TaskID = p.Text("task_id")
}
