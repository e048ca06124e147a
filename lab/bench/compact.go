package bench

import (
	"context"
	"fmt"

	"github.com/taskfeed/taskfeed/lab/query"
)

const (
	compactTasks = 50
	compactSteps = 198 // of each task, beside its two statuses
)

// sqlTasks and sqlSteps make tasks of a user that all take many steps, each in a
// transaction.
const (
	sqlTasks = `
INSERT INTO taskfeed.tasks (id, user_id) SELECT '%[1]s-' || i, '%[1]s' FROM generate_series(1, %[2]d) AS i;
UPDATE taskfeed.tasks SET status = 'running' WHERE user_id = '%[1]s'`
	sqlSteps = `
DO $$
BEGIN
    FOR step IN 1..%[2]d LOOP
        UPDATE taskfeed.tasks SET progress = step %% 100, message = 'about as long as the message of a step ' || step WHERE user_id = '%[1]s';
        COMMIT;
    END LOOP;
END $$`
)

// sqlPicked selects what still matters of a user's tasks: the last status and the last
// progress of each, which came later.
const sqlPicked = `
SELECT DISTINCT ON (task_id, type = 'task_progress') id, type, task_id, version, data, created_at
FROM taskfeed.events
WHERE user_id = $1 AND id > $2
ORDER BY task_id, type = 'task_progress', id DESC`

// replayCompact measures one client that has missed 10,000 events of few tasks and wants
// only what still matters of them. The server has none of them in memory.
func (b *bench) replayCompact(ctx context.Context, p *place) (Figure, error) {
	user := p.prefix + "compact"
	cursor, err := b.work(ctx, p, user)
	if err != nil {
		return Figure{}, err
	}
	s, err := b.serve(ctx, p)
	if err != nil {
		return Figure{}, err
	}
	defer s.stop()
	const want = 2 * compactTasks
	var ours, base []float64
	for round := range b.cfg.Rounds + 1 { // the first one warms up
		picked, err := p.selectEvents(ctx, sqlPicked, user, cursor, want)
		if err != nil {
			return Figure{}, err
		}
		took, err := s.comeBack(ctx, user, cursor, want, "compact=true")
		if err != nil {
			return Figure{}, err
		}
		if round > 0 {
			base, ours = append(base, millis(picked)), append(ours, millis(took))
		}
	}
	f := compare(fmt.Sprintf("%d missed events of %d tasks to one client with compact=true", compactTasks*(compactSteps+2), compactTasks), "ms", ours).
		lower().beside("one SELECT that picks them", base).judge(ratioAtMost(1.2))
	b.say("replay: %s: %.1f ms, %.2f times %s", f.Name, f.Value, f.Ratio, f.Baseline)
	return f, nil
}

// work has tasks of a user take their steps, and returns the cursor before them.
func (b *bench) work(ctx context.Context, p *place, user string) (cursor int64, err error) {
	s, err := b.serve(ctx, p)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	if cursor, err = p.lastID(ctx); err != nil {
		return 0, err
	}
	for _, sql := range []string{fmt.Sprintf(sqlTasks, user, compactTasks), fmt.Sprintf(sqlSteps, user, compactSteps)} {
		if err := query.Script(ctx, at(p.url), sql); err != nil {
			return 0, err
		}
	}
	return cursor, p.drained(ctx)
}
