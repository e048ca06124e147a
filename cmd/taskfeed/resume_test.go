package main

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/ssetest"
)

// TestStreamResumes proves that a browser's EventSource, which reconnects with the last
// id that it got, loses nothing and sees nothing twice when the server is replaced by
// another.
func TestStreamResumes(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"restart": syscall.SIGTERM, "kill -9": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbURL := pgtest.New(t)
			s := startServing(t, dbURL)
			port := s.base[strings.LastIndex(s.base, ":")+1:]
			c := apiOf(t, s, "alice", "").stream("after=0")

			w := startPacedWriter(t, dbURL, 3*time.Millisecond)
			var events []taskfeed.Event
			read := func(enough func() bool) (ended bool) {
				for !enough() {
					e, ok := c.TryEvent()
					if !ok {
						return true
					}
					if f := parseStreamed(t, e); f.Event.ID > 0 {
						events = append(events, f.Event)
					}
				}
				return false
			}
			if read(func() bool { return len(events) >= 100 }) {
				t.Fatal("the stream ended by itself")
			}
			s.Signal(signal)
			if !read(func() bool { return false }) {
				t.Fatal("the stream did not end")
			}
			<-s.Done()
			startServingOn(t, port, dbURL)
			c.Reconnect()
			n := len(events)
			if read(func() bool { return len(events) >= n+100 }) {
				t.Fatal("the stream ended by itself")
			}
			last := w.stop(t)
			read(func() bool { return len(events) > 0 && events[len(events)-1].Version >= last })
			checkWhole(t, "the stream", events, last)
		})
	}
}

// parseStreamed checks an event of a stream against the contract and returns its frame,
// for feed_closed one without an event.
func parseStreamed(t *testing.T, e ssetest.Event) taskfeed.Frame {
	t.Helper()
	theContract(t).CheckFrame(t, []byte(e.Data))
	if e.Type == "feed_closed" {
		return taskfeed.Frame{}
	}
	f, err := taskfeed.ParseFrame([]byte(e.Data))
	if err != nil {
		t.Fatalf("parse %s: %v", e.Data, err)
	}
	if string(f.Type) != e.Type || f.Event.ID != 0 && f.Event.ID.String() != e.ID {
		t.Fatalf("event %s with id %s holds %s", e.Type, e.ID, e.Data)
	}
	return f
}

// TestStreamOfAnyText is bad input 41 with a real database: any text in an event arrives
// as one event, with the same bytes as over WebSocket.
func TestStreamOfAnyText(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	socket := dialPlain(t, s, "alice")
	stream, all := apiOf(t, s, "alice", "").stream(""), apiOf(t, s, "root", auth.RoleAdmin).stream("all=true")
	for _, c := range []*ssetest.Client{stream, all} {
		if f := c.Frame(); f.Type != taskfeed.TypeFeedLive {
			t.Fatalf("the stream begins with %s, want feed_live", f.Type)
		}
	}
	var everything strings.Builder // every character up to the last one of the basic plane, but NUL and surrogates
	for r := rune(1); r <= 0xffff; r++ {
		if r < 0xd800 || r > 0xdfff {
			everything.WriteRune(r)
		}
	}
	conn := pgtest.Connect(t, dbURL)
	for _, text := range []string{"\r", "\n", "\r\n", "a\n\nevent: feed_reset\ndata: {}\n\n", "\ufeff", "\u2028\u2029\u0085", ": comment\nid: 7\n\n", everything.String()[:100_000]} {
		data, err := json.Marshal(map[string]string{"text": text, "key " + text[:1]: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT taskfeed.notify('alice', 'mail', $1)", string(data)); err != nil {
			t.Fatalf("notify: %v", err)
		}
		_, frame, err := socket.ReadMessage()
		if err != nil {
			t.Fatalf("read the socket: %v", err)
		}
		theContract(t).CheckFrame(t, frame)
		var got struct{ Text string }
		if err := json.Unmarshal(frame, &got); err != nil || got.Text != text {
			t.Errorf("the frame holds %.80q (%v), want %.80q", got.Text, err, text)
		}
		if e := stream.Event(); e.Data != string(frame) || e.Type != "mail" {
			t.Errorf("event %s %.80q, want the frame of the socket %.80q", e.Type, e.Data, frame)
		}
		want := strings.TrimSuffix(string(frame), "}") + `,"user_id":"alice"}`
		if e := all.Event(); e.Data != want || e.Type != "mail" {
			t.Errorf("stream of all users: event %s %.80q, want the frame and whose it is, %.80q", e.Type, e.Data, want)
		}
	}
}

// TestNarrowedFeeds proves that filtered feeds have exactly the selected events, over
// both transports and with any interruptions.
func TestNarrowedFeeds(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	alice := apiOf(t, s, "alice", "")
	c := alice.stream("types=task_completed&task_id=one")
	if f := c.Frame(); f.Type != taskfeed.TypeFeedLive {
		t.Fatalf("the stream begins with %s, want feed_live", f.Type)
	}
	step := func() {
		pgtest.Exec(t, dbURL, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('one', 'alice'), ('two', 'alice') ON CONFLICT (id) DO NOTHING;
			UPDATE taskfeed.tasks SET status = 'running'; UPDATE taskfeed.tasks SET progress = progress + 1; UPDATE taskfeed.tasks SET status = 'completed'`)
	}
	version := int64(1)
	for range 4 {
		step()
		version += 3
		if f := c.Frame(); f.Type != taskfeed.TypeTaskCompleted || f.Event.TaskID != "one" || f.Event.Version != version {
			t.Fatalf("frame %s of %s with version %d, want task_completed of one with %d", f.Type, f.Event.TaskID, f.Event.Version, version)
		}
		c.Close()
		step()
		version += 3
		c.Reconnect()
		got := []taskfeed.Frame{c.Frame(), c.Frame()} // live or replayed: the server may not have heard of it yet
		slices.SortFunc(got, func(a, b taskfeed.Frame) int { return strings.Compare(string(a.Type), string(b.Type)) })
		if got[0].Type != taskfeed.TypeFeedLive || got[1].Type != taskfeed.TypeTaskCompleted || got[1].Event.Version != version {
			t.Fatalf("coming back: %s, and %s with version %d; want feed_live, and task_completed with %d", got[0].Type, got[1].Type, got[1].Event.Version, version)
		}
	}
	settle(t, dbURL)
	socket := dialPlain(t, s, "alice", "after=0", "types=task_completed", "task_id=two")
	for want := int64(4); want <= version; want += 3 {
		if f := checkedFrame(t, socket); f.Type != taskfeed.TypeTaskCompleted || f.Event.TaskID != "two" || f.Event.Version != want {
			t.Fatalf("frame %s of %s with version %d, want task_completed of two with %d", f.Type, f.Event.TaskID, f.Event.Version, want)
		}
	}
	if f := checkedFrame(t, socket); f.Type != taskfeed.TypeFeedLive {
		t.Errorf("then %s, want feed_live", f.Type)
	}
	alice.refused("/v1/events/stream?types=task_done", 400, taskfeed.CodeBadRequest, "types")
}
