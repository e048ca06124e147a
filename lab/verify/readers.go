package verify

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Some users read what comes, and are away now and then; the others read nothing.
const (
	readers   = 2
	readEvery = 300 * time.Millisecond
	readTimes = 20 // then the user is away
	readAway  = 6 * time.Second
)

// read marks what a user has as read until ctx is done.
func (r *round) read(ctx context.Context, user string) {
	for i := 1; ctx.Err() == nil; i++ {
		head, err := one[int64](ctx, r.db, sqlHead)
		if err == nil && head > 0 {
			record := history.Read{User: user, Through: head, T: history.Now(), Begin: time.Now().UnixNano()}
			record.OK = r.putMark(ctx, user, head)
			record.End = time.Now().UnixNano()
			r.forwards.reads.Append(record)
		}
		pause.For(ctx, readEvery)
		if i%readTimes == 0 {
			pause.For(ctx, readAway)
		}
	}
}

// putMark moves the read mark of a user at one of the servers, and reports whether it is
// there.
func (r *round) putMark(ctx context.Context, user string, through int64) bool {
	token, err := auth.Issue(auth.Config{Secret: []byte(r.secret)}, user, "", time.Minute)
	if err != nil {
		return false
	}
	s := r.servers[rand.N(len(r.servers))]
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+s.net.Addr()+"/v1/me/read?through="+strconv.FormatInt(through, 10), nil)
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	return res.Body.Close() == nil && res.StatusCode == http.StatusOK
}
