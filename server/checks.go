package server

import (
	"context"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// checksOf returns the checks of /readyz.
func checksOf(st *store.Store, feed *listener.Listener, hazards *hazardWatch) []httpapi.Check {
	return []httpapi.Check{
		{Name: "database", Run: st.Ping},
		{Name: "feed", Run: func(context.Context) error { return feed.Ready() }},
		{Name: "capture", Run: func(ctx context.Context) error {
			capturing, err := st.Capturing(ctx)
			if err == nil && !capturing {
				err = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "a trigger of taskfeed.tasks is disabled, missing or another's: " +
					"changes are not captured; taskfeed doctor says which"}
			}
			if err == nil && len(hazards.of(store.HazardCapture)) > 0 {
				err = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "a lasting setting makes sessions play a replica: " +
					"changes are not captured; taskfeed doctor says which"}
			}
			return err
		}},
	}
}
