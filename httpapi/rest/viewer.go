package rest

import (
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Viewer limits a handler to the rows that its caller may see: all, or those of the caller
// and their groups. The zero value sees nothing.
type Viewer struct {
	caller auth.Principal
	all    bool
}

// AllRows returns a viewer that sees the rows of everybody.
func AllRows(p auth.Principal) Viewer { return Viewer{caller: p, all: true} }

// OwnRows returns a viewer that sees the rows of the caller and their groups alone.
func OwnRows(p auth.Principal) Viewer {
	return Viewer{caller: p}
}

// chosenUsers returns whose tasks or events to select: an admin may choose a user or,
// with an empty id, all of them; everybody else gets those that they see, or some of them.
func (v Viewer) chosenUsers(p *request.Params) (userID string, feeds []string, err error) {
	if v.all {
		return p.Text("user_id"), nil, nil
	}
	userID, feeds, ok := v.caller.Choose(p.IDs("feed"))
	if !ok {
		return "", nil, request.ErrFeed
	}
	return userID, feeds, nil
}

// users returns the caller and their groups.
func (v Viewer) users() []string { return append([]string{v.caller.UserID}, v.caller.Feeds...) }
