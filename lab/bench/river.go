package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/presets"
	"github.com/taskfeed/taskfeed/lab/query"
)

// riverJobs is how many jobs River works in one round.
const riverJobs = 4000

// noWork is a job that does nothing: all of its time is River's own.
type noWork struct {
	UserID string `json:"user_id"`
}

func (noWork) Kind() string { return "bench" }

// queues are two installations of River in one database.
type queues struct {
	place *place
	conn  *pgx.Conn
	pool  *pgxpool.Pool
}

// riverAttached compares how fast River works jobs, from the start of its workers to
// the last job recorded as done, where its table is attached and where it is not.
func (b *bench) riverAttached(ctx context.Context, p *place, conn *pgx.Conn) (f Figure, err error) {
	cfg, err := dial.Config{URL: p.url, Name: "taskfeed-lab bench"}.Pool()
	if err != nil {
		return f, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return f, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	q := &queues{place: p, conn: conn, pool: pool}
	schemas := []string{p.schema + "_loose", p.schema + "_river"}
	for _, schema := range schemas {
		if err := q.install(ctx, schema); err != nil {
			return f, err
		}
	}
	if err := q.attach(ctx, schemas[1]); err != nil {
		return f, err
	}
	var rates [2][]float64
	for round := range b.cfg.Rounds + 1 { // the first one warms up
		for i, schema := range schemas {
			took, err := q.work(ctx, schema)
			if err != nil {
				return f, err
			}
			if round > 0 {
				rates[i] = append(rates[i], riverJobs/took.Seconds())
			}
		}
	}
	f = compare("River's table attached, jobs that do nothing", "jobs/s", rates[1]).beside("the same without triggers", rates[0]).judge(ratioAtLeast(0.5))
	b.say("attached: %s: %.0f jobs/s, %.2f of %s", f.Name, f.Value, f.Ratio, f.Baseline)
	return f, nil
}

// install makes River's tables in a new schema.
func (q *queues) install(ctx context.Context, schema string) error {
	if _, err := q.conn.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
		return err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(q.pool), &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (q *queues) attach(ctx context.Context, schema string) error {
	preset, ok := presets.Find("river")
	if !ok {
		return errors.New("there is no preset for River")
	}
	columns, err := query.One[[]string](ctx, at(q.place.url), `
		SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped`, schema+".river_job")
	if err != nil {
		return err
	}
	mapping, err := preset.Mapping(schema, columns, nil)
	if err != nil {
		return err
	}
	mapping["user"] = preset.Owners[0]
	_, err = q.conn.Exec(ctx, "SELECT taskfeed.attach($1::text::regclass, 'river', $2)", schema+".river_job", mapping)
	return err
}

// work inserts jobs, has River work all of them and returns how long that took. The
// facts of the jobs are folded before it returns.
func (q *queues) work(ctx context.Context, schema string) (took time.Duration, err error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[noWork]) error { return nil }))
	client, err := river.NewClient(riverpgxv5.New(q.pool), &river.Config{
		Schema: schema, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 200}},
		FetchCooldown: time.Millisecond, FetchPollInterval: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return 0, err
	}
	jobs := make([]river.InsertManyParams, riverJobs)
	for i := range jobs {
		jobs[i].Args = noWork{UserID: fmt.Sprint(q.place.prefix, "u", i%1000)}
	}
	if _, err := client.InsertMany(ctx, jobs); err != nil {
		return 0, err
	}
	if err := folded(ctx, q.conn); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := client.Start(ctx); err != nil {
		return 0, err
	}
	err = await(ctx, time.Minute, "River to work all jobs", func() (done bool, err error) {
		err = q.conn.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM "+schema+".river_job WHERE finalized_at IS NULL)").Scan(&done)
		return done, err
	})
	took = time.Since(began)
	if err := errors.Join(err, client.Stop(context.WithoutCancel(ctx))); err != nil {
		return 0, err
	}
	return took, folded(ctx, q.conn)
}
