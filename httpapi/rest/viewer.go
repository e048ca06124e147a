package rest

import (
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Viewer limits a handler to the rows that its caller may see: all, or those of one
// user. The zero value sees nothing.
type Viewer struct {
	callerID string // whose request it is
	all      bool
}

// AllRows returns a viewer that sees the rows of everybody.
func AllRows(p auth.Principal) Viewer { return Viewer{callerID: p.UserID, all: true} }

// OwnRows returns a viewer that sees the rows of the caller alone.
func OwnRows(p auth.Principal) Viewer {
	return Viewer{callerID: p.UserID}
}

// chosenUser returns whose tasks or events to select: an admin may choose a user or,
// with an empty id, all of them; everybody else gets their own.
func (v Viewer) chosenUser(p *request.Params) string {
	if v.all {
		return p.Text("user_id")
	}
	return v.callerID
}
