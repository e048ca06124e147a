package actor

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// pollEvery is the time between the requests of a REST client.
const pollEvery = 300 * time.Millisecond

// maxAnswer is larger than any answer to these requests.
const maxAnswer = 4 << 20

// restPaths are the URLs that a user requests of the REST API: those of their own data,
// and those of others'. The tasks of others exist.
func (c *client) restPaths() []string {
	all := []string{"/v1/me", "/v1/me/tasks?limit=30", "/v1/me/events?limit=30", "/v1/me/events?limit=30&sort=id",
		"/v1/tasks", "/v1/events", "/v1/connections", "/v1/events/stream?all=true"}
	for _, task := range c.cfg.Foreign {
		all = append(all, "/v1/me/tasks/"+url.PathEscape(task), "/v1/me/tasks/"+url.PathEscape(task)+"/events", "/v1/tasks/"+url.PathEscape(task))
	}
	return all
}

// poll sends one request. It reports whether there was an answer.
func (c *client) poll(ctx context.Context, server Server) bool {
	if !pause.For(ctx, pollEvery) {
		return false
	}
	paths := c.restPaths()
	path := paths[c.rand.IntN(len(paths))]
	res, done, err := c.get(ctx, server, path, http.Header{})
	if err != nil {
		c.note(refusal(ctx, nil, err))
		return false
	}
	defer done()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		c.note(ending(ctx, err))
		return false
	}
	c.note(history.Client{Kind: history.Answer, Path: path, Status: res.StatusCode, Text: string(body)})
	return true
}
