package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// appendEvents writes events directly into the log, as its owner.
func appendEvents(t *testing.T, conn *pgx.Conn, events []taskfeed.Event) {
	t.Helper()
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	batch := &pgx.Batch{}
	for _, e := range events {
		batch.Queue(`INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
			VALUES ($1, $2, $3, $4, 1, $5, now())`, int64(e.ID), text(e.UserID), text(e.TaskID), string(e.Type), []byte(e.Data))
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatalf("append events: %v", err)
	}
}

func ids(events []taskfeed.Event) []taskfeed.Cursor {
	all := make([]taskfeed.Cursor, 0, len(events))
	for _, e := range events {
		all = append(all, e.ID)
	}
	return all
}

// Every filter gets the events that match, in order, in pages.
func TestAfter(t *testing.T) {
	t.Parallel()
	f := setup(t)
	random := rand.New(rand.NewPCG(1, 2))
	users := []string{"alice", "Alice", "alice ", "bob", "böb", "%", "a_ice", "'; drop table taskfeed.events --", ""}
	types := []taskfeed.Type{taskfeed.TypeTaskQueued, taskfeed.TypeTaskProgress, "news"}
	var log []taskfeed.Event
	for i := range 400 {
		e := taskfeed.Event{ID: taskfeed.Cursor(1 + 3*i), UserID: users[random.IntN(len(users))], Type: types[random.IntN(len(types))], Data: []byte(`{"n": 1}`)}
		if e.Type != "news" {
			e.TaskID = fmt.Sprint("task", random.IntN(20))
		}
		log = append(log, e)
	}
	appendEvents(t, f.app, log)

	filters := []taskfeed.Filter{{All: true}, {All: true, TaskID: "task3"}, {All: true, Types: types[:1]}, {UserID: "nobody"}}
	for _, user := range users[:len(users)-1] {
		filters = append(filters, taskfeed.Filter{UserID: user}, taskfeed.Filter{UserID: user, TaskID: "task3"},
			taskfeed.Filter{UserID: user, Types: types[1:]}, taskfeed.Filter{UserID: user, TaskID: "task4", Types: types[:2]})
	}
	for _, groups := range [][]string{{"bob"}, {"bob", "Alice", "alice ", "%", "nobody"}} {
		filters = append(filters, taskfeed.Filter{UserID: "alice", Feeds: groups}, taskfeed.Filter{UserID: "nobody", Feeds: groups},
			taskfeed.Filter{UserID: "alice", Feeds: groups, TaskID: "task3"}, taskfeed.Filter{UserID: "alice", Feeds: groups, Types: types[1:]},
			taskfeed.Filter{UserID: "alice", Feeds: groups, TaskID: "task4", Types: types[:2]})
	}
	for _, filter := range filters {
		for _, limit := range []int{40, 1000} {
			var want []taskfeed.Cursor
			for i := range log {
				if filter.Match(&log[i]) {
					want = append(want, log[i].ID)
				}
			}
			got := readFeed(t, f.store, filter, limit)
			wantEqual(t, fmt.Sprintf("%+v in pages of %d", filter, limit), ids(got), want)
			for i := range got {
				if !filter.Match(&got[i]) {
					t.Errorf("%+v: got an event of user %q", filter, got[i].UserID)
				}
			}
		}
	}

	t.Run("over the session", func(t *testing.T) {
		page, _, _, err := f.session.After(t.Context(), taskfeed.Filter{UserID: "bob"}, 500, 5)
		if err != nil {
			t.Fatalf("read events: %v", err)
		}
		same, _, _, err := f.store.After(t.Context(), taskfeed.Filter{UserID: "bob"}, 500, 5)
		if err != nil || len(page) != 5 {
			t.Fatalf("the session reads %d events, want 5; the store: %v", len(page), err)
		}
		wantEqual(t, "events", ids(page), ids(same))
	})

	t.Run("through a pooler, without prepared statements", func(t *testing.T) {
		pooled := openStore(t, store.Config{URL: f.url, ListenURL: f.url + "&application_name=direct"})
		for _, filter := range filters[:12] {
			wantEqual(t, fmt.Sprintf("%+v", filter), ids(readFeed(t, pooled, filter, 100)), ids(readFeed(t, f.store, filter, 100)))
		}
	})
}

// A page ends before its data is large, and says that there is more.
func TestAfterEndsPagesBySize(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var log []taskfeed.Event
	for i := range 40 {
		size := 100
		if i%2 == 1 {
			size = 200_000
		}
		data := fmt.Sprintf(`{"text": %q}`, randomText(size)) // does not compress
		log = append(log, taskfeed.Event{ID: taskfeed.Cursor(i + 1), UserID: "alice", Type: "news", Data: []byte(data)})
	}
	appendEvents(t, f.app, log)
	var got []taskfeed.Cursor
	var after taskfeed.Cursor
	for {
		page, _, more, err := f.store.After(t.Context(), taskfeed.Filter{UserID: "alice"}, after, 1000)
		if err != nil || len(page) == 0 {
			t.Fatalf("read events: got %d and %v, want some", len(page), err)
		}
		size := 0
		for _, e := range page[:len(page)-1] {
			size += len(e.Data)
		}
		if size > store.MaxPageBytes {
			t.Errorf("a page of %d events has %d bytes before its last one, want at most %d", len(page), size, store.MaxPageBytes)
		}
		got = append(got, ids(page)...)
		if !more {
			break
		}
		after = page[len(page)-1].ID
	}
	wantEqual(t, "events", got, ids(log))
}

// A full page may be the last; a page that is not full is the last.
func TestAfterSaysWhetherThereIsMore(t *testing.T) {
	t.Parallel()
	f := setup(t)
	appendEvents(t, f.app, []taskfeed.Event{
		{ID: 1, UserID: "alice", Type: "news", Data: []byte("{}")},
		{ID: 2, Type: "news", Data: []byte("{}")},
		{ID: 3, UserID: "bob", Type: "news", Data: []byte("{}")},
	})
	for limit, want := range map[int]bool{1: true, 2: true, 3: false} {
		page, _, more, err := f.store.After(t.Context(), taskfeed.Filter{UserID: "alice"}, 0, limit)
		if err != nil || more != want || len(page) != min(limit, 2) {
			t.Errorf("limit %d: got %d events, more %v (%v), want %d, %v", limit, len(page), more, err, min(limit, 2), want)
		}
	}
	if page, _, more, err := f.session.After(t.Context(), taskfeed.Filter{UserID: "alice"}, 2, 10); err != nil || more || len(page) != 0 {
		t.Errorf("at the end: got %d events, more %v (%v), want none", len(page), more, err)
	}
}

func randomText(n int) string {
	random := rand.New(rand.NewPCG(3, 4))
	var b strings.Builder
	for b.Len() < n {
		b.WriteByte(byte('!' + random.IntN(90)))
	}
	return strings.NewReplacer(`"`, "x", `\`, "y").Replace(b.String())
}

func TestAfterIsGone(t *testing.T) {
	t.Parallel()
	f := setup(t)
	appendEvents(t, f.app, []taskfeed.Event{{ID: 20, UserID: "alice", Type: "news", Data: []byte(`{}`)}})
	exec(t, f.app, "UPDATE taskfeed.log_state SET expired_through = 10")
	for after, want := range map[taskfeed.Cursor]taskfeed.Code{0: "", 1: taskfeed.CodeGone, 9: taskfeed.CodeGone, 10: "", 11: "", 20: "", 99: ""} {
		for _, filter := range []taskfeed.Filter{{UserID: "alice"}, {All: true}, {UserID: "bob"}} {
			page, _, _, err := f.store.After(t.Context(), filter, after, 10)
			if got := taskfeed.CodeOf(err); got != want {
				t.Errorf("%+v after %d: code %q (%v), want %q", filter, after, got, err, want)
			}
			if err != nil && page != nil {
				t.Errorf("%+v after %d: %d events beside an error", filter, after, len(page))
			}
		}
	}
}

// When events after the cursor are dropped while a page is read, the page is complete
// or the cursor is gone: no event is missing silently.
func TestAfterDuringRetention(t *testing.T) {
	t.Parallel()
	f := setup(t)
	fillPartitions(t, f, 4, 50)
	exec(t, f.app, "UPDATE taskfeed.events SET created_at = now() - interval '1 year'")
	exec(t, f.app, "SELECT setval('taskfeed.event_id', $1)", 4*int64(store.PartitionWidth))
	stop := make(chan struct{})
	dropped := make(chan error, 1)
	go func() {
		defer close(stop)
		for value[int](t, f.session.Conn(), "SELECT count(*)::int FROM taskfeed.events") > 0 {
			if err := f.session.Maintain(t.Context(), 1); err != nil && taskfeed.CodeOf(err) != taskfeed.CodeUnavailable {
				dropped <- err
				return
			}
		}
		dropped <- nil
	}()
	gone, whole := 0, 0
	var last taskfeed.Cursor
	for running := true; running; {
		select {
		case <-stop:
			running = false
		default:
		}
		events, _, _, err := f.store.After(t.Context(), taskfeed.Filter{All: true}, 10, 1000)
		switch {
		case taskfeed.CodeOf(err) == taskfeed.CodeGone:
			gone++
		case err != nil:
			t.Errorf("read events: %v", err)
		case len(events) != 190: // 40 of the first partition, all of the others
			t.Errorf("read %d events after 10, want all 190 or that they are gone", len(events))
		default:
			whole++
			last = events[len(events)-1].ID
		}
	}
	if err := <-dropped; err != nil {
		t.Fatalf("drop partitions: %v", err)
	}
	if gone == 0 {
		t.Errorf("the cursor was never gone (%d whole pages), want it gone in the end", whole)
	}
	if got, err := f.store.LastID(t.Context()); err != nil || whole > 0 && got != last {
		t.Errorf("the last id after all was dropped: %d (%v), want %d still", got, err, last)
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	f := setup(t)
	want := func(when string, head, last taskfeed.Cursor) {
		t.Helper()
		ctx := context.Background()
		if got, err := f.store.Head(ctx); err != nil || got != head {
			t.Errorf("%s: head %d (%v), want %d", when, got, err, head)
		}
		if got, err := f.store.LastID(ctx); err != nil || got != last {
			t.Errorf("%s: last id %d (%v), want %d", when, got, err, last)
		}
		if got, err := f.session.LastID(ctx); err != nil || got != last {
			t.Errorf("%s: last id over the session %d (%v), want %d", when, got, err, last)
		}
	}
	want("new", 0, 0)
	add(t, f.app, "a")
	want("a change waits", 0, 0)
	move(t, f.session)
	want("moved", 1, 1)
	exec(t, f.app, "SELECT nextval('taskfeed.event_id')")
	want("an id was drawn and not used", 2, 1)
	exec(t, f.app, "UPDATE taskfeed.log_state SET expired_through = 2")
	exec(t, f.app, "DELETE FROM taskfeed.events")
	want("all was dropped", 2, 2)
}

// Errors say what to do and contain no secret.
func TestErrorsHideSecrets(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-hunter2"
	url := pgtest.New(t)
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	address := fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
	for _, bad := range []string{
		"postgres://user:" + secret + "@host:port/db", "postgres://user:" + secret + "@[::1/db", "host=localhost password=" + secret + " port=x",
		"postgres://user:" + secret + "@host/db?sslmode=never", "postgres://user:" + secret + "%zz@host/db", secret,
		"postgres://user:" + secret + "@127.0.0.1:1/db", "postgres://postgres:" + secret + "@" + address + "/postgres?sslmode=disable",
		"postgres://postgres:" + secret + "@" + address + "/postgres?sslmode=disable&unknown_setting=1",
	} {
		for _, cfg := range []store.Config{{URL: bad}, {URL: url, ListenURL: bad}} {
			err := use(t, cfg)
			if err == nil {
				t.Errorf("%s: no error, want one", strings.ReplaceAll(bad, secret, "***"))
				continue
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
				t.Errorf("the error shows the password: %s", strings.ReplaceAll(err.Error(), secret, "***"))
			}
		}
	}
}

// use opens a store and a session and returns the first error.
func use(t *testing.T, cfg store.Config) error {
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	session, err := s.OpenSession(t.Context())
	if err != nil {
		return err
	}
	session.Close()
	return s.Ping(t.Context())
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]store.Config{
		"URL":          {},
		"MaxConns":     {URL: "postgres://localhost/db", MaxConns: -1},
		"StallTimeout": {URL: "postgres://localhost/db", StallTimeout: 1},
		"ReadTimeout":  {URL: "postgres://localhost/db", ReadTimeout: -1},
	}
	for field, cfg := range cases {
		if s, err := store.Open(t.Context(), cfg); !mention(err, field) {
			if err == nil {
				s.Close()
			}
			t.Errorf("a bad %s: got error %v, want one that names it", field, err)
		}
	}
}

func TestURLOfAPool(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t) + "&pool_max_conns=3&pool_min_conns=1&default_query_exec_mode=exec&statement_timeout=5s"
	s := openSession(t, openStore(t, store.Config{URL: url}))
	if got := value[string](t, s.Conn(), "SHOW statement_timeout"); got != "0" {
		t.Errorf("statement_timeout of a session: got %s, want 0: its caller bounds each statement", got)
	}
	if m := move(t, s); m.Count != 0 {
		t.Errorf("moved %d, want 0", m.Count)
	}
	if got := s.Conn().Config().DefaultQueryExecMode; got != pgx.QueryExecModeCacheStatement {
		t.Errorf("exec mode of a session: got %v, want prepared statements", got)
	}
}
