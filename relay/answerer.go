package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed"
)

// Source is the log as a core reads it, and what else gateways need from the database.
type Source interface {
	// Page is hub.Log's After, with where the log ended before the page was read. All of
	// it is of one lineage.
	Page(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (State, Page, error)
	// State returns where the log ends.
	State(ctx context.Context) (State, error)
	// Lineage returns the name of the log, which may be some seconds old.
	Lineage(ctx context.Context) (Lineage, error)
	// CommandsAfter returns the commands of admins after the one with this id.
	CommandsAfter(ctx context.Context, id int64) ([]taskfeed.Command, error)
	// LastCommand returns the id of the last command.
	LastCommand(ctx context.Context) (int64, error)
	// Erasures returns a number that changes whenever events are erased.
	Erasures(ctx context.Context) (int64, error)
}

// AnswererConfig says how an answerer works. Zero means the default.
type AnswererConfig struct {
	// Prefix begins the subjects. Default "taskfeed".
	Prefix string
	// Parallel bounds the questions that are answered at the same time; others are told
	// to ask again. Default 16.
	Parallel int
	// Recent returns from where on this core has recent events in memory.
	Recent func() taskfeed.Cursor
	// Uncompressed has answers sent as they are.
	Uncompressed bool
	// Logger. Default: slog.Default().
	Logger *slog.Logger
}

// Answerer answers the questions of gateways on a core.
type Answerer struct {
	source    Source
	transport Transport
	cfg       AnswererConfig
	slots     chan struct{}
	counts    AnswererCounts
}

// AnswererCounts is what an answerer counts. All but Running only grow.
type AnswererCounts struct {
	Answered atomic.Uint64
	Busy     atomic.Uint64 // questions refused because there were too many at once
	Failed   atomic.Uint64
	Micros   atomic.Uint64 // time that answers took, in microseconds
	Running  atomic.Int64
}

// NewAnswerer returns an answerer of questions about source.
func NewAnswerer(t Transport, source Source, cfg AnswererConfig) *Answerer {
	if cfg.Parallel == 0 {
		cfg.Parallel = 16
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Recent == nil {
		cfg.Recent = func() taskfeed.Cursor { return taskfeed.MaxID }
	}
	return &Answerer{source: source, transport: t, cfg: cfg, slots: make(chan struct{}, cfg.Parallel)}
}

// Counts returns what the answerer has counted.
func (a *Answerer) Counts() *AnswererCounts { return &a.counts }

// Run answers until ctx is done, and returns nil then.
func (a *Answerer) Run(ctx context.Context) error {
	stop, err := a.transport.Answer(prefixOf(a.cfg.Prefix)+subjectAsk, a.serve)
	if err != nil {
		return err
	}
	<-ctx.Done()
	stop()
	return nil
}

var errBusy = unavailable("this server answers as many questions as it can; ask again")

// serve answers one question.
func (a *Answerer) serve(ctx context.Context, message []byte) []byte {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		a.counts.Busy.Add(1)
		return a.refuse(errBusy)
	}
	a.counts.Running.Add(1)
	defer a.counts.Running.Add(-1)
	began := time.Now()
	q, err := decodeQuestion(message)
	var said answer
	if err == nil {
		said, err = a.answer(ctx, q)
	}
	a.counts.Micros.Add(uint64(time.Since(began).Microseconds()))
	if err != nil {
		a.counts.Failed.Add(1)
		return a.refuse(err)
	}
	a.counts.Answered.Add(1)
	said.recent = a.cfg.Recent()
	said.page.cut(messageBytes(a.transport.MaxPayload()))
	return said.encode(!a.cfg.Uncompressed)
}

func (a *Answerer) answer(ctx context.Context, q question) (said answer, err error) {
	switch q.topic {
	case askAfter:
		said.state, said.page, err = a.source.Page(ctx, q.filter, taskfeed.Cursor(q.after), q.limit)
		return said, err
	case askState:
		said.state, err = a.source.State(ctx)
		return said, err
	}
	if said.state.Lineage, err = a.source.Lineage(ctx); err != nil {
		return said, err
	}
	switch q.topic {
	case askCommands:
		said.commands, err = a.source.CommandsAfter(ctx, q.after)
	case askLastCommand:
		said.number, err = a.source.LastCommand(ctx)
	case askErasures:
		said.number, err = a.source.Erasures(ctx)
	default:
		err = &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "this server does not know the question: upgrade the cores first"}
	}
	return said, err
}

// refuse returns an answer with the part of the error that others may see.
func (a *Answerer) refuse(err error) []byte {
	said := answer{code: taskfeed.CodeOf(err)}
	if e, ok := errors.AsType[*taskfeed.Error](err); ok && e.Code != taskfeed.CodeInternal {
		said.message = e.Message
	} else {
		a.cfg.Logger.Error("cannot answer a gateway", "error", err)
	}
	return said.encode(false)
}
