package store_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// Writers share the lock of the doorbell, and with very many of them the leader's row
// was beyond the limit: every follower reported that nobody leads. The leader's row
// comes first, then those of intruders, then the writers'.
func TestACrowdOfWritersHidesNobody(t *testing.T) {
	t.Parallel()
	f := setup(t)
	if leads, err := f.session.TryLead(t.Context()); err != nil || !leads {
		t.Fatalf("leads %v, error %v", leads, err)
	}
	for range 3 {
		writer := pgtest.Connect(t, f.url)
		exec(t, writer, "BEGIN")
		exec(t, writer, "SELECT pg_advisory_xact_lock_shared("+locks.Doorbell+"), pg_current_xact_id()")
	}
	exec(t, pgtest.Connect(t, f.url), "SELECT pg_advisory_lock_shared("+locks.Followers+")")
	rows, _ := f.app.Query(t.Context(), strings.Replace(locks.Query, "LIMIT 1000", "LIMIT 2", 1)) // rows tell of errors too
	got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h locks.Holder, err error) {
		err = row.Scan(h.Targets()...)
		return h.Named(), err
	})
	if err != nil || len(got) != 2 || !locks.Led(got) || len(locks.Intruders(got)) != 1 {
		t.Errorf("the first two of five are %v (error %v), want the leader and the stranger", got, err)
	}
}
