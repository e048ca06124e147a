package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/dial"
)

// samples are the statements that dev offers in the console's playground. An app would
// write the same ones.
type samples struct{ databaseURL string }

// A sample changes the user's latest unfinished sample task.
const sqlSampleTask = `
(SELECT id
 FROM taskfeed.tasks
 WHERE user_id = @user
   AND status IN ('queued', 'running')
   AND id LIKE 'sample-%'
 ORDER BY created_at DESC
 LIMIT 1)`

var sampleActions = []struct{ name, statement string }{
	{"create", `
INSERT INTO taskfeed.tasks (id, user_id, kind)
VALUES ('sample-' || left(md5(random()::text), 8), @user, 'sample')`},
	{"progress", `
UPDATE taskfeed.tasks
SET status = 'running', progress = least(progress + 20, 100), message = 'step by step'
WHERE id = ` + sqlSampleTask},
	{"complete", `
UPDATE taskfeed.tasks
SET status = 'completed', progress = 100, result = '{"answer": 42}'
WHERE id = ` + sqlSampleTask},
	{"fail", `
UPDATE taskfeed.tasks
SET status = 'failed', error = 'the sample was told to fail'
WHERE id = ` + sqlSampleTask},
	{"delete", `
DELETE FROM taskfeed.tasks
WHERE id = ` + sqlSampleTask},
	{"burst", `
INSERT INTO taskfeed.tasks (id, user_id, kind)
SELECT 'sample-' || left(md5(random()::text), 8) || '-' || n, @user, 'burst'
FROM generate_series(1, 100) AS n`},
	{"notify", `
SELECT taskfeed.notify(@user, 'sample_note', '{"text": "an event that belongs to no task"}')`},
}

// Actions implements httpapi.Samples.
func (samples) Actions() []string {
	var names []string
	for _, a := range sampleActions {
		names = append(names, a.name)
	}
	return names
}

// Run implements httpapi.Samples.
func (s samples) Run(ctx context.Context, userID, action string) (string, error) {
	i := slices.Index(s.Actions(), action)
	if i < 0 {
		return "", &taskfeed.Error{Code: taskfeed.CodeBadRequest,
			Message: "action: must be one of " + strings.Join(s.Actions(), ", ")}
	}
	conn, err := dial.Connect(ctx, dial.Config{URL: s.databaseURL, Name: "taskfeed samples"}, nil)
	if err != nil {
		return "", &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the database does not answer; try again", Err: err}
	}
	defer conn.Close(context.WithoutCancel(ctx))
	statement := strings.TrimSpace(sampleActions[i].statement)
	tag, err := conn.Exec(ctx, statement, pgx.NamedArgs{"user": userID})
	if err != nil {
		return "", fmt.Errorf("run sample %s: %w", action, err)
	}
	if tag.RowsAffected() == 0 {
		return "", &taskfeed.Error{Code: taskfeed.CodeNotFound,
			Message: "there is no unfinished sample task; create one first"}
	}
	return strings.ReplaceAll(statement, "@user", "'"+strings.ReplaceAll(userID, "'", "''")+"'"), nil
}
