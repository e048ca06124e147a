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

// pollEvery is how often a client of the REST API asks for something.
const pollEvery = 300 * time.Millisecond

// maxAnswer is more than an answer to any of these questions takes.
const maxAnswer = 4 << 20

// questions are what a user asks of the REST API: what is theirs, and what is
// not. The tasks of others are known to exist.
func (c *client) questions() []string {
	all := []string{"/v1/me", "/v1/me/tasks?limit=30", "/v1/me/events?limit=30", "/v1/me/events?limit=30&sort=id",
		"/v1/tasks", "/v1/events", "/v1/connections", "/v1/events/stream?all=true"}
	for _, task := range c.cfg.Foreign {
		all = append(all, "/v1/me/tasks/"+url.PathEscape(task), "/v1/me/tasks/"+url.PathEscape(task)+"/events", "/v1/tasks/"+url.PathEscape(task))
	}
	return all
}

// poll asks one question. It reports whether there was an answer.
func (c *client) poll(ctx context.Context, server Server) bool {
	if !pause.For(ctx, pollEvery) {
		return false
	}
	questions := c.questions()
	path := questions[c.rand.IntN(len(questions))]
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
