package forward_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/forward"
)

func upTo(n int) (ns []int) {
	for i := range n {
		ns = append(ns, i+1)
	}
	return ns
}

// A message has the event's frame and its user; broadcasts have no user.
func TestMessage(t *testing.T) {
	t.Parallel()
	f := setup(t)
	bodies := make(chan string, 2)
	f.to.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.Header.Get("webhook-id") + " " + string(body)
	})
	if _, err := f.app.Exec(t.Context(), `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t"1', 'a<b')`); err != nil {
		t.Fatal(err)
	}
	f.move(t)
	f.start(t, f.config())
	id, body, _ := strings.Cut(<-bodies, " ")
	var got struct {
		Type, Timestamp string
		User            string `json:"user_id"`
		Data            json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	frame, err := taskfeed.ParseFrame(got.Data)
	if err != nil {
		t.Fatalf("%s: %v", got.Data, err)
	}
	if got.Type != "task_queued" || got.User != "a<b" || frame.Event.TaskID != `t"1` || id != "evt_"+frame.Event.ID.String() || !strings.Contains(body, `"data":{"id":`+frame.Event.ID.String()+`,"type":"task_queued","timestamp":"`+got.Timestamp+`"`) {
		t.Errorf("got %s %s", id, body)
	}
	if _, err := f.app.Exec(t.Context(), `SELECT taskfeed.broadcast('news')`); err != nil {
		t.Fatal(err)
	}
	f.move(t)
	if got := <-bodies; strings.Contains(got, "user_id") || !strings.Contains(got, `{"type":"news",`) {
		t.Errorf("a broadcast: got %s, want no user_id", got)
	}
}

// The endpoint fails, hangs, lies and drops connections, and the forwarder is started
// again and again: every event is taken at least once, those of a user in order.
func TestAtLeastOnceInOrder(t *testing.T) {
	t.Parallel()
	f := setup(t)
	users := []string{"alice", "bob", "carol", "dave"}
	f.to.answers(func(w http.ResponseWriter, r *http.Request, m got) bool {
		kind := (m.N*7 + len(m.User)) % 11
		if m.Try > 2 || kind > 5 {
			return true
		}
		switch kind {
		case 0:
			http.Error(w, "no", http.StatusInternalServerError)
		case 1:
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case 2:
			<-r.Context().Done() // hangs
		case 3:
			panic(http.ErrAbortHandler) // no answer
		case 4:
			http.Error(w, "no", http.StatusNotFound)
		case 5:
			w.Header().Set("Content-Length", "1000") // of which few come
			_, _ = w.Write([]byte("ok"))
			return true
		}
		return false
	})
	cfg := f.config()
	cfg.Timeout, cfg.Drain = 300*time.Millisecond, 100*time.Millisecond
	const rounds, each = 4, 15
	for round := range rounds {
		r := f.start(t, cfg)
		for i := range each {
			f.tell(t, round*each+i+1, users...)
		}
		eventually(t, "some events of the round are taken", func() bool { return len(f.to.of("alice")) > round*each+each/2 })
		r.end(t)
	}
	f.start(t, cfg)
	for _, user := range users {
		f.wantTaken(t, user, upTo(rounds*each)...)
	}
	eventually(t, "the cursor is at the end", func() bool {
		cursor, _ := f.cursor(t)
		last, err := f.store.LastID(t.Context())
		return err == nil && cursor == int64(last)
	})
	if failures := f.failures(t); len(failures) != 0 {
		t.Errorf("got failures %v, want none", failures)
	}
}

// A user whose event is not taken does not stop the others. It becomes a failure in time;
// then the user's next event is sent.
func TestStuckUserStopsNobody(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.to.answers(func(w http.ResponseWriter, _ *http.Request, m got) bool {
		if m.User == "alice" && m.N == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return false
		}
		return true
	})
	f.tell(t, 1, "alice", "bob")
	f.tell(t, 2, "alice", "bob")
	cfg := f.config()
	cfg.GiveUpAfter = time.Hour
	r := f.start(t, cfg)
	f.tell(t, 3, "bob")
	f.wantTaken(t, "bob", 1, 2, 3)
	f.wantTaken(t, "alice")
	r.end(t)
	if cursor, _ := f.cursor(t); cursor != 0 {
		t.Errorf("the cursor is %d, beyond an event that was not delivered", cursor)
	}
	cfg.GiveUpAfter = 200 * time.Millisecond
	f.start(t, cfg)
	f.wantTaken(t, "alice", 2)
	failures := f.failures(t)
	if len(failures) != 1 || failures[0].UserID != "alice" || failures[0].Type != "x" || failures[0].Tries < 1 || failures[0].Reason != "the endpoint answered 502" || !strings.Contains(failures[0].Body, `"n": 1`) {
		t.Errorf("got failures %+v, want the first event of alice", failures)
	}
}

// When the window is full, the event that is in the way becomes a failure early if the
// endpoint takes others.
func TestFullWindow(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.to.answers(func(w http.ResponseWriter, _ *http.Request, m got) bool {
		if m.User == "alice" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return false
		}
		return true
	})
	cfg := f.config()
	cfg.Window = 5
	f.start(t, cfg)
	f.tell(t, 1, "alice")
	for i := range 20 {
		f.tell(t, i+1, "bob")
	}
	f.wantTaken(t, "bob", upTo(20)...)
	eventually(t, "the first event of alice is a failure", func() bool { return len(f.failures(t)) == 1 })
}

// An endpoint that is down loses nothing, however full the window is.
func TestEndpointDown(t *testing.T) {
	t.Parallel()
	f := setup(t)
	down := func(w http.ResponseWriter, _ *http.Request, _ got) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	}
	f.to.answers(down)
	cfg := f.config()
	cfg.Window = 3
	f.start(t, cfg)
	for i := range 10 {
		f.tell(t, i+1, "alice", "bob")
	}
	eventually(t, "the endpoint refuses", func() bool { return f.to.count() > 20 })
	f.to.answers(accept)
	f.wantTaken(t, "alice", upTo(10)...)
	f.wantTaken(t, "bob", upTo(10)...)
	if failures := f.failures(t); len(failures) != 0 {
		t.Errorf("got failures %v, want none", failures)
	}
}

// One process forwards; another one with the same name waits and takes over.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	f := setup(t)
	cfg := f.config()
	cfg.Lease = 5 * time.Second
	first := f.start(t, cfg)
	f.tell(t, 1, "alice")
	f.wantTaken(t, "alice", 1)
	f.start(t, cfg)
	eventually(t, "the second one waits", func() bool { return strings.Contains(f.logged.String(), "another process forwards") })
	f.tell(t, 2, "alice")
	f.wantTaken(t, "alice", 1, 2)
	first.end(t)
	f.tell(t, 3, "alice")
	f.wantTaken(t, "alice", 1, 2, 3)
	if got := f.to.count(); got != 3 {
		t.Errorf("the endpoint was sent %d messages, want 3", got)
	}
}

// A process that has lost its lease to another stops.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	f := setup(t)
	cfg := f.config()
	f.start(t, cfg)
	f.tell(t, 1, "alice")
	f.wantTaken(t, "alice", 1)
	if _, err := f.app.Exec(t.Context(), `UPDATE taskfeed.forwards SET holder = 'another', held_until = 'infinity'`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process notices", func() bool { return strings.Contains(f.logged.String(), "has taken the forward over") })
	f.tell(t, 2, "alice")
	eventually(t, "it waits", func() bool { return strings.Contains(f.logged.String(), "another process forwards under this name") })
	f.wantTaken(t, "alice", 1)
}

// An endpoint that answers 410 gets nothing more, and no event is lost.
func TestGone(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.to.answers(func(w http.ResponseWriter, _ *http.Request, _ got) bool {
		w.WriteHeader(http.StatusGone)
		return false
	})
	f.tell(t, 1, "alice")
	fw, err := forward.New(f.store, f.store, f.config())
	if err != nil {
		t.Fatal(err)
	}
	if err := fw.Run(t.Context()); !errors.Is(err, forward.ErrGone) {
		t.Errorf("got %v, want %v", err, forward.ErrGone)
	}
	f.to.answers(accept)
	f.start(t, f.config())
	f.wantTaken(t, "alice", 1)
}

// A new name begins with the next event, unless it is told where.
func TestBeginning(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.tell(t, 1, "alice")
	cfg := f.config()
	cfg.After = nil
	f.start(t, cfg)
	eventually(t, "it forwards", func() bool { return strings.Contains(f.logged.String(), "forwarding") })
	f.tell(t, 2, "alice")
	f.wantTaken(t, "alice", 2)
}

// A filter of types moves the cursor past other events too.
func TestTypes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	cfg := f.config()
	cfg.Types = []taskfeed.Type{"y"}
	f.start(t, cfg)
	f.tell(t, 1, "alice", "bob")
	eventually(t, "the cursor is beyond them", func() bool { cursor, _ := f.cursor(t); return cursor >= 2 })
	if _, err := f.app.Exec(t.Context(), `SELECT taskfeed.notify('alice', 'y', '{"n": 2}')`); err != nil {
		t.Fatal(err)
	}
	f.move(t)
	f.wantTaken(t, "alice", 2)
	f.wantTaken(t, "bob")
}

func TestOneUser(t *testing.T) {
	t.Parallel()
	f := setup(t)
	cfg := f.config()
	cfg.UserID = "bob"
	f.start(t, cfg)
	f.tell(t, 1, "alice", "bob", "alice")
	f.tell(t, 2, "bob")
	f.wantTaken(t, "bob", 1, 2)
	f.wantTaken(t, "alice")
}

// A cursor that is older than the log says so and goes on from the oldest event.
func TestRetention(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.tell(t, 1, "alice")
	r := f.start(t, f.config())
	f.wantTaken(t, "alice", 1)
	r.end(t)
	f.tell(t, 2, "alice", "bob")
	f.tell(t, 3, "alice")
	for _, sql := range []string{`DELETE FROM taskfeed.events WHERE id < 4`, `UPDATE taskfeed.log_state SET expired_through = 3`} {
		if _, err := f.app.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	f.start(t, f.config())
	f.wantTaken(t, "alice", 1, 3)
	eventually(t, "the loss is counted", func() bool { _, lost := f.cursor(t); return lost == 2 })
	if got := f.logged.String(); !strings.Contains(got, "dropped by retention") || !strings.Contains(got, "ids=2") {
		t.Error("got no word of the events that were lost, want one")
	}
}

// Events that their users have read in time are left out.
func TestUnlessRead(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.tell(t, 1, "alice", "bob")
	f.tell(t, 2, "alice")
	if _, err := f.store.MoveMarks(t.Context(), []taskfeed.Mark{{UserID: "alice", Through: 2}, {UserID: "bob", Through: 1}}, "s"); err != nil {
		t.Fatal(err)
	}
	cfg := f.config()
	cfg.UnlessRead = 300 * time.Millisecond
	f.start(t, cfg)
	f.wantTaken(t, "alice", 2)
	f.wantTaken(t, "bob", 1)
	began := time.Now()
	f.tell(t, 3, "alice")
	f.wantTaken(t, "alice", 2, 3)
	if waited := time.Since(began); waited < cfg.UnlessRead {
		t.Errorf("an event was sent after %v, want %v", waited, cfg.UnlessRead)
	}
}

// Failures are sent again, and those that are delivered are none any longer.
func TestResend(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refuse := true
	f.to.answers(func(w http.ResponseWriter, _ *http.Request, m got) bool {
		if refuse || m.User == "bob" {
			w.WriteHeader(http.StatusTeapot)
			return false
		}
		return true
	})
	cfg := f.config()
	cfg.GiveUpAfter = time.Nanosecond
	f.tell(t, 1, "alice", "bob")
	f.tell(t, 2, "alice", "bob")
	r := f.start(t, cfg)
	eventually(t, "all are failures", func() bool { return len(f.failures(t)) == 4 })
	r.end(t)
	refuse = false
	got, err := forward.Resend(t.Context(), f.store, cfg)
	if want := (forward.Resent{Delivered: 2, Failed: 1, Held: 1}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	f.wantTaken(t, "alice", 1, 2)
	left := f.failures(t)
	if len(left) != 2 || left[0].UserID != "bob" || left[0].Tries != 2 || left[1].Tries != 1 || left[0].Reason != "the endpoint answered 418" {
		t.Errorf("left: got %+v, want those of bob", left)
	}
	f.to.answers(accept)
	if got, err := forward.Resend(t.Context(), f.store, cfg); err != nil || got.Delivered != 2 {
		t.Errorf("again: got %+v, %v, want 2 delivered", got, err)
	}
	f.wantTaken(t, "bob", 1, 2)
	ids := make(map[string]bool)
	for _, g := range f.to.all {
		ids[g.ID] = true
	}
	if len(ids) != 4 {
		t.Errorf("got %d webhook-ids of 4 events, want the same one each time", len(ids))
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	good := forward.Config{Name: "crm", URL: "https://example.com/hooks?key=S3cret"}
	var err error
	if good.Secrets, err = forward.ParseSecrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"); err != nil {
		t.Fatal(err)
	}
	if _, err := forward.New(nil, nil, good); err != nil {
		t.Fatalf("a good configuration: %v", err)
	}
	for _, change := range []func(*forward.Config){
		func(c *forward.Config) { c.Name = "" },
		func(c *forward.Config) { c.Name = "a b" },
		func(c *forward.Config) { c.Name = strings.Repeat("a", 65) },
		func(c *forward.Config) { c.URL = "" },
		func(c *forward.Config) { c.URL = "http://example.com/?S3cret" },
		func(c *forward.Config) { c.URL = "https://u:S3cret@example.com" },
		func(c *forward.Config) { c.URL = "https://169.254.169.254/S3cret" },
		func(c *forward.Config) { c.URL = "https://[::1]/S3cret" },
		func(c *forward.Config) { c.URL = "https://%zz/S3cret" },
		func(c *forward.Config) { c.URL = "ftp://example.com/S3cret" },
		func(c *forward.Config) { c.Secrets = nil },
		func(c *forward.Config) { c.Types = []taskfeed.Type{"a b"} },
		func(c *forward.Config) { c.Lease = time.Millisecond },
	} {
		c := good
		change(&c)
		if _, err := forward.New(nil, nil, c); err == nil || strings.Contains(err.Error(), "S3cret") {
			t.Errorf("%s %s: got %v, want an error without secrets", c.Name, c.URL, err)
		}
	}
}
