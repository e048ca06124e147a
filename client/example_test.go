package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

// serve stands in for a taskfeed server: the nth connection gets the nth list of
// frames, and is cut unless it is the last.
func serve(connections ...[]string) *httptest.Server {
	var upgrader websocket.Upgrader
	next := make(chan []string, len(connections))
	for _, frames := range connections {
		next <- frames
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for _, frame := range <-next {
			_ = conn.WriteMessage(websocket.TextMessage, []byte(frame))
		}
		if len(next) == 0 {
			_, _, _ = conn.ReadMessage() // until the client goes
		}
	}))
}

// Show alice's events as they come. The connection is lost on the way; nothing
// is lost with it, and nothing comes twice.
func Example() {
	server := serve(
		[]string{
			`{"id":1,"type":"task_started","timestamp":"2026-11-22T10:00:00Z","task_id":"t1","version":2}`,
			`{"id":2,"type":"task_progress","timestamp":"2026-11-22T10:00:01Z","task_id":"t1","version":3,"progress":40}`,
		},
		[]string{
			`{"id":2,"type":"task_progress","timestamp":"2026-11-22T10:00:01Z","task_id":"t1","version":3,"progress":40}`,
			`{"id":3,"type":"task_completed","timestamp":"2026-11-22T10:00:02Z","task_id":"t1","version":4,"result":{"count":5}}`,
		})
	defer server.Close()

	feed, err := client.New(client.Config{
		URL:     server.URL,
		UserID:  "alice",
		Token:   client.StaticToken("alices-token"),
		Backoff: client.Backoff{Min: time.Millisecond},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	err = feed.Run(ctx, func(_ context.Context, e taskfeed.Event) error {
		fmt.Printf("%d %s %s %s\n", e.ID, e.Type, e.TaskID, e.Data)
		if e.Type == taskfeed.TypeTaskCompleted {
			stop() // an ordered stop: Run returns nil
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// 1 task_started t1 {}
	// 2 task_progress t1 {"progress":40}
	// 3 task_completed t1 {"result":{"count":5}}
	// <nil>
}

// The same as a sequence. Leave the loop when you have seen enough.
func ExampleFeed_Events() {
	server := serve([]string{`{"id":7,"type":"task_failed","timestamp":"2026-11-22T10:00:00Z","task_id":"t1","version":3,"error":"disk full"}`})
	defer server.Close()

	feed, err := client.New(client.Config{URL: server.URL, UserID: "alice", Token: client.StaticToken("alices-token")})
	if err != nil {
		fmt.Println(err)
		return
	}
	for event, err := range feed.Events(context.Background()) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(event.TaskID, event.Type)
		break
	}
	// Output:
	// t1 task_failed
}

// Begin with a list of the tasks, and read it again when the log no longer keeps
// what was missed. A token is fetched whenever one is needed.
func ExampleConfig() {
	server := serve([]string{
		`{"type":"feed_reset","reason":"expired","cursor":900}`,
		`{"id":901,"type":"task_queued","timestamp":"2026-11-22T10:00:00Z","task_id":"t9","version":1}`,
	})
	defer server.Close()

	loadTasks := func(context.Context) error { fmt.Println("read the tasks"); return nil }
	fetchToken := func(context.Context) (string, error) { return "alices-token", nil }

	feed, err := client.New(client.Config{
		URL:    server.URL,
		UserID: "alice",
		After:  new(taskfeed.Cursor(12)), // of the snapshot that the app began with
		Token: func(ctx context.Context, reason client.TokenReason) (string, error) {
			if reason == client.TokenRejected {
				return "", fmt.Errorf("log in again: %w", client.ErrRejected) // ends Run
			}
			return fetchToken(ctx)
		},
		OnReset: func(ctx context.Context, reason taskfeed.ResetReason, cursor taskfeed.Cursor) error {
			fmt.Printf("missed events (%s), going on after %s\n", reason, cursor)
			return loadTasks(ctx)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := errors.New("done")
	err = feed.Run(context.Background(), func(_ context.Context, e taskfeed.Event) error {
		fmt.Println(e.ID, e.Type)
		return done // an error of the handler ends Run
	})
	fmt.Println(errors.Is(err, done))
	// Output:
	// missed events (expired), going on after 900
	// read the tasks
	// 901 task_queued
	// true
}
