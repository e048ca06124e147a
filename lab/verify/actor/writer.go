package actor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// WriterConfig is the configuration of a writer process.
type WriterConfig struct {
	Dir   string         `json:"dir"` // of the history
	Name  string         `json:"name"`
	Seed  uint64         `json:"seed"`
	URL   string         `json:"url"`  // of the database
	Rate  float64        `json:"rate"` // transactions a second
	Users []history.User `json:"users"`
	// Shared are tasks that all writers change; each belongs to the user of the
	// same place in SharedUsers.
	Shared      []string       `json:"shared"`
	SharedUsers []history.User `json:"shared_users"`
	// Ops is a table in which writers record events without a task, so that the slot
	// shows them; empty: none.
	Ops string `json:"ops,omitempty"`
	// Prefix is the prefix of the ids of tasks and of the types of events.
	Prefix string `json:"prefix"`
	// Broadcasts says whether to write events for everybody.
	Broadcasts bool `json:"broadcasts"`
	// FirstJob makes it a writer of jobs: it changes rows of the attached table, and
	// inserts those with ids above this one. 0: it changes tasks.
	FirstJob int64 `json:"first_job,omitempty"`
}

// RunWriter is the process taskfeed-lab verify-writer.
func RunWriter(ctx context.Context, stdin io.Reader, stdout io.Writer) (err error) {
	in := bufio.NewScanner(stdin)
	var cfg WriterConfig
	if err := configure(in, &cfg); err != nil {
		return err
	}
	w, err := NewWriter(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return serve(ctx, in, stdout, w)
}

// Writer changes tasks and records the outcomes. One goroutine may use it at a time;
// commands may come from another.
type Writer struct {
	cfg  WriterConfig
	rand *rand.Rand
	out  *history.File

	conn  *pgx.Conn
	txn   int
	ops   int
	tasks []ownTask
	async bool // the connection's synchronous_commit is off
	// scripted counts the steps of jobScript that are done.
	scripted int
	// finish ends a transaction in another way than by COMMIT.
	finish func(*transaction) (history.Outcome, error)

	writes    atomic.Int64
	unflushed atomic.Int64
	paused    atomic.Bool
	wantAsync atomic.Bool
	renew     atomic.Bool
	forget    atomic.Bool
	bursts    chan burst
}

// ownTask is a task that no other writer changes.
type ownTask struct {
	id   string
	user history.User
}

// NewWriter returns a writer, which connects when it first writes. The caller closes
// it.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	out, err := history.Create(cfg.Dir, "writer-"+cfg.Name+".jsonl")
	if err != nil {
		return nil, err
	}
	return &Writer{cfg: cfg, rand: newRand(cfg.Seed, cfg.Name), out: out, bursts: make(chan burst, 16)}, nil
}

// Close ends the connection and closes the file.
func (w *Writer) Close() error {
	w.disconnect()
	return w.out.Close()
}

func (w *Writer) status() Status { return Status{Writes: w.writes.Load(), Async: w.unflushed.Load()} }

func (w *Writer) obey(c Command) {
	switch c.Do {
	case DoPause:
		w.paused.Store(!c.On)
	case DoAsync:
		w.wantAsync.Store(c.On)
	case DoRenew:
		w.renew.Store(true)
	case DoForget:
		w.forget.Store(true)
	case DoBurst, DoHuge:
		select {
		case w.bursts <- burst{c.User, c.Do == DoHuge}:
		default: // enough bursts are waiting
		}
	}
}

// Forget makes the writer change none of its existing tasks again.
func (w *Writer) Forget() { w.tasks = nil }

// run writes until ctx is done. It records failures and continues, as an app would.
func (w *Writer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if w.paused.Load() {
			pause.For(ctx, 10*time.Millisecond)
			continue
		}
		if err := w.connect(ctx); err != nil {
			pause.For(ctx, 50*time.Millisecond+rand.N(100*time.Millisecond))
			continue
		}
		if w.forget.Swap(false) {
			w.Forget()
		}
		select {
		case b := <-w.bursts:
			w.burst(ctx, b)
		default:
			w.step(ctx)
		}
		pause.For(ctx, time.Duration(w.rand.ExpFloat64()/w.cfg.Rate*float64(time.Second)))
	}
	return nil
}

// connectTimeout bounds a connection attempt, transactionTimeout a transaction,
// what it waits for on purpose included.
const (
	connectTimeout     = 3 * time.Second
	transactionTimeout = 25 * time.Second
)

const sqlWriterSettings = `
SELECT set_config('application_name', 'taskfeed verify writer', false),
       set_config('lock_timeout', '4s', false),
       set_config('statement_timeout', '8s', false),
       set_config('synchronous_commit', @commit, false)`

// sqlDiscreet keeps canaries out of the log of the private database: Postgres quotes
// refused statements there.
const sqlDiscreet = `SET log_error_verbosity = terse; SET log_min_error_statement = panic`

func (w *Writer) connect(ctx context.Context) error {
	async := w.wantAsync.Load()
	if w.renew.Swap(false) || w.async != async {
		w.disconnect()
	}
	if w.conn != nil && !w.conn.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := dial.Connect(ctx, dial.Config{URL: w.cfg.URL, Name: "taskfeed verify"}, nil)
	if err != nil {
		return err
	}
	commit := "on"
	if async {
		commit = "off"
	}
	if _, err := conn.Exec(ctx, sqlWriterSettings, pgx.NamedArgs{"commit": commit}); err != nil {
		_ = conn.Close(ctx)
		return err
	}
	if w.cfg.Ops != "" { // the database is private
		if _, err := conn.PgConn().Exec(ctx, sqlDiscreet).ReadAll(); err != nil {
			_ = conn.Close(ctx)
			return err
		}
	}
	w.conn, w.async = conn, async
	return nil
}

func (w *Writer) disconnect() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.conn.Close(ctx) // it may be broken
	w.conn = nil
}

// transaction collects the ops of one transaction and runs their statements.
type transaction struct {
	w      *Writer
	ctx    context.Context
	writes []history.Write
	begin  int64
}

// do runs a transaction and records its ops. work runs their statements; if it returns
// an error, the transaction is rolled back.
func (w *Writer) do(ctx context.Context, work func(*transaction) error) history.Outcome {
	w.txn++
	// A writer that is stopped finishes its transaction, so that the outcome is known.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	t := &transaction{w: w, ctx: ctx, begin: now()}
	before := slices.Clone(w.tasks)
	outcome, err := t.run(work)
	end, text := now(), ""
	if err != nil {
		text = err.Error()
	}
	for _, write := range t.writes {
		write.Begin, write.End, write.Outcome, write.Error, write.Async = t.begin, end, outcome, text, w.async
		w.out.Append(write)
	}
	w.writes.Add(int64(len(t.writes)))
	if w.async && outcome == history.OK {
		w.unflushed.Add(int64(len(t.writes)))
	}
	w.settle(before, t.writes, outcome)
	return outcome
}

// settle updates the writer's list of its tasks. It drops a task whose owner is
// unknown: a further change could put a canary into another user's task.
func (w *Writer) settle(before []ownTask, writes []history.Write, outcome history.Outcome) {
	if outcome == history.OK {
		return
	}
	w.tasks = before
	if outcome == history.Info {
		w.tasks = slices.DeleteFunc(w.tasks, func(t ownTask) bool {
			return slices.ContainsFunc(writes, func(write history.Write) bool { return write.Task == t.id })
		})
	}
}

func (t *transaction) run(work func(*transaction) error) (history.Outcome, error) {
	if err := t.exec("BEGIN"); err != nil {
		return history.Fail, err
	}
	if err := work(t); err != nil {
		if !t.w.conn.IsClosed() {
			_ = t.exec("ROLLBACK") // if it fails, the connection is broken and is replaced
		}
		return history.Fail, err
	}
	if t.w.finish != nil {
		return t.w.finish(t)
	}
	return outcomeOf(t.exec("COMMIT"))
}

// outcomeOf derives the outcome from the reply to a statement that commits. After an
// error that ends the connection it is unknown whether the commit took place.
func outcomeOf(err error) (history.Outcome, error) {
	if err == nil {
		return history.OK, nil
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Severity == "ERROR" {
		return history.Fail, err
	}
	return history.Info, err
}

// exec runs a statement.
func (t *transaction) exec(sql string, args ...any) error {
	_, err := t.w.conn.Exec(t.ctx, sql, args...)
	return err
}

// op records a change that the transaction is about to make, and returns its op.
func (t *transaction) op(action, user, task string) string {
	t.w.ops++
	op := fmt.Sprintf("%s.%d", t.w.cfg.Name, t.w.ops)
	t.writes = append(t.writes, history.Write{Op: op, Writer: t.w.cfg.Name, Txn: t.w.txn, User: user, Task: task, Action: action})
	return op
}

// message returns the message of a task: the op, to which its event can be traced, and
// the canary, which no other user may see.
func message(op string, u history.User) string { return op + " " + u.Canary }
