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
	// Ops is where writers note events that belong to no task, for the truth to
	// know of them; empty: nowhere.
	Ops string `json:"ops,omitempty"`
	// Prefix begins the ids of tasks and the types of events.
	Prefix string `json:"prefix"`
	// Broadcasts says whether to write events for everybody.
	Broadcasts bool `json:"broadcasts"`
}

// RunWriter is the process taskfeed verify-writer.
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

// Writer changes tasks and writes down what became of it. One goroutine may use
// it at a time; commands may come from another.
type Writer struct {
	cfg  WriterConfig
	rand *rand.Rand
	out  *history.File

	conn  *pgx.Conn
	txn   int
	ops   int
	tasks []ownTask
	async bool // as the connection is set
	// finish ends a transaction in another way than by COMMIT.
	finish func(*transaction) (history.Outcome, error)

	writes    atomic.Int64
	unflushed atomic.Int64
	paused    atomic.Bool
	wantAsync atomic.Bool
	renew     atomic.Bool
	forget    atomic.Bool
	bursts    chan string // users
}

// ownTask is a task that nobody else changes.
type ownTask struct {
	id   string
	user history.User
}

// NewWriter makes a writer; it connects when it first writes. The caller closes it.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	out, err := history.Create(cfg.Dir, "writer-"+cfg.Name+".jsonl")
	if err != nil {
		return nil, err
	}
	return &Writer{cfg: cfg, rand: newRand(cfg.Seed, cfg.Name), out: out, bursts: make(chan string, 16)}, nil
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
	case DoBurst:
		select {
		case w.bursts <- c.User:
		default: // enough is waiting
		}
	}
}

// Forget has the writer change no task again that it made so far.
func (w *Writer) Forget() { w.tasks = nil }

// run writes until ctx is done. Whatever fails is written down and no reason to
// stop: an app goes on, too.
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
		case user := <-w.bursts:
			w.burst(ctx, user)
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

// sqlDiscreet keeps what a writer writes out of the private database's log, where
// no canary is to be found: Postgres quotes what it refuses.
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

// do runs a transaction and writes down its ops. work runs their statements; an
// error of its own rolls back.
func (w *Writer) do(ctx context.Context, work func(*transaction) error) history.Outcome {
	w.txn++
	// A writer that is told to stop finishes what it is doing: an outcome that
	// is known is worth more.
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

// settle keeps in mind what is true of the writer's own tasks. One whose state
// nobody knows is left alone from now on: whose it is, is a secret to keep.
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
			_ = t.exec("ROLLBACK") // or the connection is of no use any more, as the next one will find
		}
		return history.Fail, err
	}
	if t.w.finish != nil {
		return t.w.finish(t)
	}
	return outcomeOf(t.exec("COMMIT"))
}

// outcomeOf judges the reply to a statement that commits. An error that ends the
// connection leaves open on which side of the commit it came.
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

// op notes a change that the transaction is about to make, and returns its name.
func (t *transaction) op(action, user, task string) string {
	t.w.ops++
	op := fmt.Sprintf("%s.%d", t.w.cfg.Name, t.w.ops)
	t.writes = append(t.writes, history.Write{Op: op, Writer: t.w.cfg.Name, Txn: t.w.txn, User: user, Task: task, Action: action})
	return op
}

// message is what a task says: the op, so that its event can be traced, and the
// canary that nobody else may see.
func message(op string, u history.User) string { return op + " " + u.Canary }
