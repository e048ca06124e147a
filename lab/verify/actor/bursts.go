package actor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// burst is what a writer is told to write besides its mix: more events of one user than
// buffers hold, or, if huge, more at once than one message of a relay takes.
type burst struct {
	user string
	huge bool
}

const (
	burstTasks = 30
	burstBytes = 60_000 // of the result of each

	hugeTasks = 3
	hugeBytes = 240_000
)

// burst writes large tasks, one by one, or the largest ones at once.
func (w *Writer) burst(ctx context.Context, b burst) {
	i := slices.IndexFunc(w.cfg.Users, func(u history.User) bool { return u.ID == b.user })
	if i < 0 {
		return
	}
	transactions, tasks, size := burstTasks, 1, burstBytes
	if b.huge {
		transactions, tasks, size = 1, hugeTasks, hugeBytes
	}
	for range transactions {
		w.do(ctx, func(t *transaction) error {
			for range tasks {
				if err := t.large(w.cfg.Users[i], size); err != nil {
					return err
				}
			}
			return nil
		})
		if w.conn == nil || w.conn.IsClosed() {
			return
		}
	}
}

// large inserts a task whose result has so many bytes.
func (t *transaction) large(u history.User, size int) error {
	id := fmt.Sprintf("%s%s-b%d", t.w.cfg.Prefix, t.w.cfg.Name, t.w.ops+1)
	op := t.op("insert", u.ID, id)
	result := `"` + strings.Repeat(string(rune('a'+t.w.rand.IntN(26))), size) + `"`
	return t.exec(`INSERT INTO taskfeed.tasks (id, user_id, status, message, result) VALUES ($1, $2, 'completed', $3, $4)`,
		id, u.ID, message(op, u), result)
}
