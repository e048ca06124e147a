package client_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

// vector is a script of testdata/vectors.json; vectors.md says what it means.
type vector struct {
	Name string
	Feed struct {
		UserID string `json:"user_id"`
		After  *taskfeed.Cursor
		Types  []taskfeed.Type
		TaskID string `json:"task_id"`
	}
	Sessions []vectorSession
	Asks     []string
	Events   []map[string]any
	Resets   []vectorReset
	Cursor   *taskfeed.Cursor
	End      string
}

type vectorSession struct {
	After   *taskfeed.Cursor
	Token   int
	Status  int
	Headers map[string]string
	Frames  []json.RawMessage
	Close   int
	Cut     string
}

type vectorReset struct {
	Reason taskfeed.ResetReason
	Cursor taskfeed.Cursor
}

var vectorEnds = map[string]error{
	"rejected": client.ErrRejected, "forbidden": client.ErrForbidden, "disconnected": client.ErrDisconnected,
	"refused": client.ErrRefused, "protocol": client.ErrProtocol,
}

func TestVectors(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("vectors.json: got %d vectors, %v, want some", len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, v.run)
		})
	}
}

func (v *vector) run(t *testing.T) {
	var parts []func(*peer)
	for i := range v.Sessions {
		parts = append(parts, func(p *peer) { v.serve(p, &v.Sessions[i]) })
	}
	s, st := play(t, parts...), new(store)
	var asks []string
	var resets []vectorReset
	cfg := s.config()
	cfg.Token, cfg.CursorStore = numbered(&asks), st
	cfg.UserID = cmp.Or(v.Feed.UserID, cfg.UserID)
	cfg.After, cfg.Types, cfg.TaskID = v.Feed.After, v.Feed.Types, v.Feed.TaskID
	cfg.OnReset = func(_ context.Context, reason taskfeed.ResetReason, cursor taskfeed.Cursor) error {
		resets = append(resets, vectorReset{reason, cursor})
		return nil
	}

	ctx, stop := context.WithTimeout(t.Context(), time.Hour)
	defer stop()
	var events []map[string]any
	err := mustNew(t, cfg).Run(ctx, func(_ context.Context, e taskfeed.Event) error {
		events = append(events, flat(t, e))
		if e.Type == "end" {
			stop()
		}
		return nil
	})

	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("end: still at it after an hour, want the script to end")
	}
	if want := vectorEnds[v.End]; !errors.Is(err, want) || v.End != "" && want == nil {
		t.Errorf("end: got %v, want %v (%q)", err, want, v.End)
	}
	v.checkEvents(t, events)
	if !slices.Equal(resets, v.Resets) {
		t.Errorf("resets: got %v, want %v", resets, v.Resets)
	}
	if v.Asks == nil {
		v.Asks = []string{"initial"}
	}
	if !slices.Equal(asks, v.Asks) {
		t.Errorf("asks: got %v, want %v", asks, v.Asks)
	}
	if got, want := len(s.seen()), len(v.Sessions); got != want {
		t.Errorf("connections: got %d, want %d", got, want)
	}
	if got, want := cursorText(st.known, st.cursor), cursorText(v.Cursor != nil, deref(v.Cursor)); got != want {
		t.Errorf("cursor: got %s, want %s", got, want)
	}
}

func (v *vector) checkEvents(t *testing.T, events []map[string]any) {
	if len(events) != len(v.Events) {
		t.Errorf("events: got %v, want %v", events, v.Events)
		return
	}
	for i, want := range v.Events {
		for field, value := range want {
			if got, ok := events[i][field]; !ok || !reflect.DeepEqual(got, value) {
				t.Errorf("event %d, %s: got %v, want %v", i, field, got, value)
			}
		}
	}
}

// serve checks the request of one session and plays it.
func (v *vector) serve(p *peer, s *vectorSession) {
	check := func(what, got, want string) {
		if got != want {
			p.t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	types := make([]string, len(v.Feed.Types))
	for i, kind := range v.Feed.Types {
		types[i] = string(kind)
	}
	query := p.r.URL.Query()
	check("path", p.r.URL.Path, "/ws/"+cmp.Or(v.Feed.UserID, "alice"))
	check("types", query.Get("types"), strings.Join(types, ","))
	check("task_id", query.Get("task_id"), v.Feed.TaskID)
	check("token", p.r.Header.Get("Authorization"), fmt.Sprintf("Bearer token-%d", max(s.Token, 1)))
	after := "none"
	if query.Has("after") {
		after = query.Get("after")
	}
	check("after", after, cursorText(s.After != nil, deref(s.After)))

	if s.Status != 0 {
		for name, value := range s.Headers {
			p.w.Header().Set(name, value)
		}
		p.w.WriteHeader(s.Status)
		return
	}
	p.upgrade()
	for _, f := range s.Frames {
		text := string(f)
		if f[0] == '"' {
			_ = json.Unmarshal(f, &text)
		}
		p.send(text)
	}
	switch {
	case s.Close != 0:
		p.close(s.Close, "")
	case s.Cut == "within":
		p.cut()
	case s.Cut == "":
		p.hold()
	}
}

// flat is the event as the frame that it came in.
func flat(t *testing.T, e taskfeed.Event) map[string]any {
	var fields map[string]any
	if err := json.Unmarshal(taskfeed.AppendFrame(nil, &e), &fields); err != nil {
		t.Errorf("event %s: %v", e.ID, err)
	}
	return fields
}

func cursorText(known bool, c taskfeed.Cursor) string {
	if !known {
		return "none"
	}
	return c.String()
}

func deref(c *taskfeed.Cursor) taskfeed.Cursor {
	if c == nil {
		return 0
	}
	return *c
}
