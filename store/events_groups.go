package store

import (
	"context"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A page of a user and groups is merged from one walk for each. Each walk up to the limit
// would read up to 65 pages to return one. So each has a quota, and the page ends where
// the first of them has used it up. If that is early, because one feed has most of the
// events, the next round goes on from there with greater quotas.

const (
	leastQuota = 16
	maxRounds  = 6
)

func eventsOfGroups(ctx context.Context, db pg.Querier, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	users := eventlog.Users(f.UserID, f.Feeds)
	e := extent{events: limit, bytes: maxPageBytes, scan: limit, quotas: make([]int32, len(users))}
	quota, rounds := 2*limit/len(users), maxRounds
	if len(f.Types) > 0 { // most of what a walk passes may be of no use
		e.scan = maxScan / len(users)
		quota, rounds = e.scan, 1
	}
	for i := range e.quotas {
		e.quotas[i] = int32(max(quota, leastQuota))
	}
	through, more = after, true
	for ; more && rounds > 0 && e.events > 0 && e.bytes > 0; rounds-- {
		page, to, rest, err := readEvents(ctx, db, f, through, e)
		if err != nil && len(events) > 0 {
			break // the next read says so
		} else if err != nil {
			return nil, 0, false, err
		}
		events, through, more = append(events, page...), to, rest
		e.events -= len(page)
		for i := range page {
			e.bytes -= eventlog.Bytes(&page[i])
		}
		e.raise(users, page, limit)
	}
	return events, through, more, nil
}

// raise doubles the quotas, and lets the feed whose event ended the page fill the next.
func (e *extent) raise(users []string, page []taskfeed.Event, limit int) {
	for i, user := range users {
		e.quotas[i] = min(2*e.quotas[i], int32(limit))
		if n := len(page); n > 0 && page[n-1].UserID == user {
			e.quotas[i] = int32(limit)
		}
	}
}
