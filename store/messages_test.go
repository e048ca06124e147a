package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

var roomy = taskfeed.InboxLimits{PerUser: 100, Room: 1000}

func message(user, ref string) taskfeed.Message {
	return taskfeed.Message{UserID: user, Ref: ref, Topic: "cancel", Data: json.RawMessage(`{}`)}
}

func addMessages(t *testing.T, s *store.Store, limits taskfeed.InboxLimits, messages ...taskfeed.Message) []taskfeed.Stored {
	t.Helper()
	stored, err := s.AddMessages(t.Context(), messages, limits)
	if err != nil {
		t.Fatalf("store messages: %v", err)
	}
	return stored
}

// codes names what became of messages: the code of a refusal, or nothing.
func codes(stored []taskfeed.Stored) (names []string) {
	for _, s := range stored {
		name := ""
		if s.Err != nil {
			name = string(s.Err.Code)
		}
		names = append(names, name)
	}
	return names
}

// receive takes messages as the app does and names them by their refs.
func receive(t *testing.T, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, args string) []string {
	t.Helper()
	rows, _ := db.Query(t.Context(), `SELECT ref FROM taskfeed.receive(`+args+`)`) // the rows report the error too
	refs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("receive(%s): %v", args, err)
	}
	return refs
}

func TestMessagesAreReceivedOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	other := message("alice", "3")
	other.Topic = "rate"
	stored := addMessages(t, f.store, roomy, message("alice", "1"), message("bob", "1"), other)
	wantEqual(t, "answers", codes(stored), []string{"", "", ""})
	if !(stored[0].ID < stored[1].ID && stored[1].ID < stored[2].ID) {
		t.Errorf("got the ids %v, want them in the order of the batch", stored)
	}
	again := addMessages(t, f.store, roomy, message("bob", "1"), message("alice", "1"))
	if again[0] != stored[1] || again[1] != stored[0] {
		t.Errorf("sent again: got %v, want the answers of the first time, %v", again, stored)
	}
	tx, err := f.app.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "one topic", receive(t, tx, `'cancel'`), []string{"1", "1"})
	second := pgtest.Connect(t, f.url)
	wantEqual(t, "what another worker gets meanwhile", receive(t, second, ""), []string{"3"})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "after a rollback", receive(t, f.app, `at_most => 1`), []string{"1"})
	wantEqual(t, "the rest", receive(t, f.app, ""), []string{"1"})
	wantEqual(t, "after all", receive(t, f.app, ""), []string{})

	// A lost answer makes the client send again what the app has received already.
	again = addMessages(t, f.store, roomy, message("alice", "1"))
	if again[0] != stored[0] {
		t.Errorf("sent again after it was received: got %v, want %v", again[0], stored[0])
	}
	wantEqual(t, "doubled", receive(t, f.app, ""), []string{})
}

// A client that sends again does not wait for the transaction in which the app receives.
func TestMessagesDoNotWaitForTheApp(t *testing.T) {
	t.Parallel()
	f := setup(t)
	first := addMessages(t, f.store, roomy, message("alice", "1"))
	tx, err := f.app.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "received", receive(t, tx, ""), []string{"1"})
	again := addMessages(t, f.store, roomy, message("alice", "1"), message("alice", "2"))
	if again[0] != first[0] || again[1].ID == 0 {
		t.Errorf("while the app receives: got %v, want the first answer, %v, and one more", again, first)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMessageRefusals(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('hers', 'alice'), ('his', 'bob'), ('theirs', 'team')`)
	about := func(ref, task string, feeds ...string) taskfeed.Message {
		m := message("alice", ref)
		m.TaskID, m.Feeds = task, feeds
		return m
	}
	changed := message("alice", "1")
	changed.Data = json.RawMessage(`{"a": 1}`)
	spaced := message("alice", "1")
	spaced.Data = json.RawMessage(` {  } `)
	moved := about("1", "hers")
	for _, tt := range []struct {
		name   string
		limits taskfeed.InboxLimits
		batch  []taskfeed.Message
		want   []string
	}{
		{"tasks", roomy, []taskfeed.Message{about("t1", "hers"), about("t2", "his"), about("t3", "none"), about("t4", "theirs"), about("t5", "theirs", "x", "team"), about("t6", "his", "team")},
			[]string{"", "not_found", "not_found", "not_found", "", "not_found"}},
		{"the same twice in one batch", roomy, []taskfeed.Message{message("alice", "1"), message("alice", "1"), changed}, []string{"", "", "ref_reused"}},
		{"other content", roomy, []taskfeed.Message{spaced, changed, moved}, []string{"", "ref_reused", "ref_reused"}},
		{"of a user", taskfeed.InboxLimits{PerUser: 4, Room: 100}, []taskfeed.Message{message("alice", "7"), message("alice", "8"), message("bob", "8"), message("alice", "1")}, []string{"", "inbox_full", "", ""}},
		{"of all", taskfeed.InboxLimits{PerUser: 100, Room: 1}, []taskfeed.Message{message("eve", "1"), message("joe", "1"), message("bob", "8")}, []string{"", "inbox_full", ""}},
	} {
		wantEqual(t, "bad input 158, 159: "+tt.name, codes(addMessages(t, f.store, tt.limits, tt.batch...)), tt.want)
	}
	exec(t, f.app, `DELETE FROM taskfeed.tasks`)
	wantEqual(t, "bad input 159: again, without the task", codes(addMessages(t, f.store, roomy, about("t1", "hers"))), []string{""})
	// bad input 160: Postgres may refuse these.
	for _, data := range []string{`{"a": "\u0000"}`, `{"a": 1e999999}`, `{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`} {
		m := message("alice", "bad")
		m.Data = json.RawMessage(data)
		if _, err := f.store.AddMessages(t.Context(), []taskfeed.Message{m}, roomy); err != nil {
			wantCode(t, err, taskfeed.CodeBadRequest)
		}
	}
}

// Two servers get the same messages at the same moment: each is stored once, and both
// answer with the same ids.
func TestMessagesOfSeveralServers(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	app := pgtest.Connect(t, url)
	for round := range 10 {
		var batch []taskfeed.Message
		for i := range 50 {
			batch = append(batch, message("alice", fmt.Sprintf("%d-%d", round, i)))
		}
		var stored [3][]taskfeed.Stored
		var wg sync.WaitGroup
		s := openStore(t, store.Config{URL: url})
		for i := range stored {
			mine := slices.Clone(batch)
			if i == 1 {
				slices.Reverse(mine)
			}
			wg.Go(func() {
				var err error
				if stored[i], err = s.AddMessages(t.Context(), mine, taskfeed.InboxLimits{PerUser: 1000, Room: 1000}); err != nil {
					t.Errorf("store messages: %v", err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		slices.Reverse(stored[1])
		for i := range batch {
			if stored[0][i] != stored[1][i] || stored[1][i] != stored[2][i] || stored[0][i].ID == 0 {
				t.Errorf("message %d: got the answers %v, %v and %v, want one", i, stored[0][i], stored[1][i], stored[2][i])
			}
		}
	}
	if got := len(receive(t, app, "at_most => 1000")); got != 500 {
		t.Errorf("got %d messages, want 500", got)
	}
}

func TestInboxRings(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `LISTEN taskfeed_inbox`)
	addMessages(t, f.store, roomy, message("alice", "1"), message("alice", "2"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := f.app.WaitForNotification(ctx)
	if err != nil || n.Channel != "taskfeed_inbox" {
		t.Fatalf("got %v, %v, want a notification", n, err)
	}
	addMessages(t, f.store, roomy, message("alice", "1")) // nothing new
	exec(t, f.app, `NOTIFY taskfeed_inbox, 'last'`)
	if n, err = f.app.WaitForNotification(ctx); err != nil || n.Payload != "last" {
		t.Errorf("after one batch and a message that was stored before: got %v, %v, want no other notification", n, err)
	}
}

// Refs are kept for a day, and as long as the message waits.
func TestRefsAreDropped(t *testing.T) {
	t.Parallel()
	f := setup(t)

	addMessages(t, f.store, roomy, message("alice", "old"))
	receive(t, f.app, "")
	addMessages(t, f.store, roomy, message("alice", "waits"), message("alice", "young"))
	exec(t, f.app, `UPDATE taskfeed.inbox_refs SET created_at = created_at - interval '25 hours' WHERE ref <> 'young'`)
	if err := f.session.Maintain(t.Context(), -1); err != nil {
		t.Fatal(err)
	}
	rows, _ := f.app.Query(t.Context(), `SELECT ref FROM taskfeed.inbox_refs ORDER BY ref`)
	refs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "refs", refs, []string{"waits", "young"})
}

func TestInboxFiguresAndList(t *testing.T) {
	t.Parallel()
	f := setup(t)
	figures, err := f.store.InboxFigures(t.Context())
	if err != nil || figures != (store.InboxFigures{}) {
		t.Errorf("an empty inbox: got %+v, %v", figures, err)
	}
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
	about := message("alice", "2")
	about.TaskID = "t"
	addMessages(t, f.store, roomy, message("bob", "1"), about, message("alice", "3"))
	exec(t, f.app, `UPDATE taskfeed.inbox SET created_at = created_at - interval '1 hour' WHERE ref = '1'`)
	if figures, err = f.store.InboxFigures(t.Context()); err != nil || figures.Waiting != 3 || figures.Oldest < time.Hour {
		t.Errorf("got %+v, %v, want 3 messages, the oldest of an hour", figures, err)
	}
	receive(t, f.app, "at_most => 2")
	for _, tt := range []struct {
		q    taskfeed.MessageQuery
		want []string
	}{
		{taskfeed.MessageQuery{Limit: 10}, []string{"3 true", "2 false", "1 false"}},
		{taskfeed.MessageQuery{Limit: 1}, []string{"3 true"}},
		{taskfeed.MessageQuery{UserID: "alice", Limit: 10}, []string{"3 true", "2 false"}},
		{taskfeed.MessageQuery{TaskID: "t", Limit: 10}, []string{"2 false"}},
	} {
		all, err := f.store.Messages(t.Context(), tt.q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range all {
			got = append(got, fmt.Sprint(m.Ref, " ", m.Waiting))
		}
		wantEqual(t, fmt.Sprintf("%+v", tt.q), got, tt.want)
		if n := len(all); n > 1 {
			tt.q.Before = all[0].ID
			if rest, err := f.store.Messages(t.Context(), tt.q); err != nil || len(rest) != n-1 {
				t.Errorf("%+v: got %d, %v, want the %d after the first", tt.q, len(rest), err, n-1)
			}
		}
	}
}

func TestMessagesReadOnly(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	_, err := openStore(t, store.Config{URL: f.url}).AddMessages(t.Context(), []taskfeed.Message{message("alice", "1")}, roomy)
	wantCode(t, err, taskfeed.CodeUnavailable)
	if !strings.Contains(err.Error(), "read-only") {
		t.Errorf("bad input 159: got %v, want it to say that the database is read-only", err)
	}
}
