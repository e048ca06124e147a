package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// park keeps some clients away around a failover. They come back with cursors from
// before, when servers know the log as it is since then.
func (r *round) park(d time.Duration) error {
	away := slices.Clone(r.names["churn"])
	for _, name := range r.names[""] {
		if strings.HasPrefix(name, "b") {
			away = append(away, name)
		}
	}
	return tell(r.clients, actor.Command{Do: actor.DoPark, Names: away, For: d})
}

// comeBack is the effect that they have come back once every gateway has the log as it is
// now, and that clients which ask for everything have done so several times.
func (r *round) comeBack(ctx context.Context) (string, error) {
	last, err := one[int64](ctx, r.db, sqlLastEvent)
	if err != nil {
		return "", err
	}
	for _, g := range r.gateways {
		if head := g.head(ctx); head < last-oldEvents { // more come all the time
			return "", fmt.Errorf("%s has events up to %d, and the log up to %d", g.name, head, last)
		}
	}
	if err := r.park(0); err != nil {
		return "", err
	}
	for range 3 {
		if err := tell(r.clients, actor.Command{Do: actor.DoStorm, Names: r.names["fresh"]}); err != nil {
			return "", err
		}
		pause.For(ctx, time.Second)
	}
	return "clients came back", nil
}

// sqlOldWrite changes the old primary, which nobody may ever hear of.
const sqlOldWrite = `
INSERT INTO taskfeed.tasks (id, user_id, status, message)
SELECT $1 || u.n, u.id, 'running', 'of an old primary'
FROM unnest($2::text[]) WITH ORDINALITY AS u (id, n)`

// keepOldPrimary promotes the standby and lets the old primary live on. A server of its
// own leads there: it publishes what is written there, and answers gateways, which must
// believe none of it.
func (r *round) keepOldPrimary(ctx context.Context, at *database, standby *devpg.Server, f *history.Fault) (injection, error) {
	old := clusterAt(r.db, r.db.cluster())
	cluster := r.db.cluster()
	d, err := r.switchTo(ctx, at, standby, promote, func(devpg.Mode) error { return nil })
	end := d.undo
	d.undo = func(ctx context.Context) error {
		errs := []error{r.park(0)}
		if end != nil {
			errs = append(errs, end(ctx))
		}
		return errors.Join(append(errs, cluster.StopMode(devpg.Immediate))...)
	}
	if err != nil {
		return d, err
	}
	if err := end(ctx); err != nil { // servers go on with the new primary
		return d, err
	}
	end = nil
	s, err := prepareServer("old", "serve", r.dir, r.cfg.Binary, r.secret, r.engine)
	if err != nil {
		return d, err
	}
	s.env = append(s.env, "DATABASE_URL="+old.direct(), "TASKFEED_MIGRATE=false", "TASKFEED_STALL_TIMEOUT="+stallTimeout.String())
	stopCluster := d.undo
	d.undo = func(ctx context.Context) error { return errors.Join(s.close(), stopCluster(ctx)) }
	d.effect, d.patience = all(d.effect, r.outlives(old), s.spoke, r.comeBack), patience
	return d, s.start()
}

// spoke is the effect that a server has published to gateways and answered one.
func (s *server) spoke(ctx context.Context) (string, error) {
	figures, err := s.metrics(ctx)
	if err != nil {
		return "", err
	}
	published, answered := figures["taskfeed_relay_published_total"], figures[`taskfeed_relay_answers_total{result="answered"}`]
	if published == 0 || answered == 0 {
		return "", fmt.Errorf("it has published %.0f messages and answered %.0f questions", published, answered)
	}
	return fmt.Sprintf("its server published %.0f messages and answered %.0f questions", published, answered), nil
}

// outlives is the effect that the old primary has new events in its log.
func (r *round) outlives(old *database) effect {
	var users []string
	for _, u := range r.users[:activeUsers] {
		users = append(users, u.ID)
	}
	writes := 0
	first := int64(-1)
	return func(ctx context.Context) (string, error) {
		conn, err := old.connect(ctx)
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		last, err := one[int64](ctx, old, sqlLastEvent)
		if err != nil {
			return "", err
		}
		if first < 0 {
			first = last
		}
		writes++
		if _, err := conn.Exec(ctx, sqlOldWrite, fmt.Sprintf("%sold-%d-", r.prefix, writes), users); err != nil {
			return "", err
		}
		pause.For(ctx, 200*time.Millisecond)
		if last < first+oldEvents {
			return "", errors.New("no server leads on the old primary")
		}
		return fmt.Sprintf("the old primary has %d events more", last-first), nil
	}
}

// oldEvents are enough to see that the old primary is not believed.
const oldEvents = 20
