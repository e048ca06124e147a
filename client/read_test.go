package client_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
)

// A mark is sent at once, then at most once a second, and again over the next connection;
// only the greatest counts.
func TestMarkRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []string
		read := func(p *peer) {
			_, raw, err := p.conn.ReadMessage()
			if err != nil {
				p.t.Errorf("read a mark: %v", err)
			}
			got = append(got, string(raw))
		}
		marked := make(chan time.Duration, 1)
		s := play(t,
			func(p *peer) {
				p.upgrade().send(live(1), event(2), event(3))
				read(p)
				began := time.Now()
				read(p)
				marked <- time.Since(began)
				p.cut()
			},
			func(p *peer) {
				p.upgrade().send(live(3))
				read(p)
				p.send(`{"type":"feed_read","through":9}`, `{"type":"feed_read_refused","code":"mark_ahead"}`, event(4)).hold()
			})
		cfg := s.config()
		cfg.Unread = true
		frames := make(chan taskfeed.Frame, 10)
		cfg.OnFrame = func(f taskfeed.Frame, _ []byte) { frames <- f }
		f := mustNew(t, cfg)
		var ids []taskfeed.Cursor
		for e, err := range f.Events(t.Context()) {
			if err != nil {
				t.Fatalf("Run: %v", err)
			}
			ids = append(ids, e.ID)
			if e.ID == 4 {
				break
			}
			f.MarkRead(e.ID)
			f.MarkRead(1)
			synctest.Wait() // until the first mark is sent
		}
		if waited := <-marked; waited != time.Second {
			t.Errorf("the second mark came after %s, want 1s", waited)
		}
		if want := []string{`{"type":"read","through":2}`, `{"type":"read","through":3}`, `{"type":"read","through":3}`}; !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
		if want := []taskfeed.Cursor{2, 3, 4}; !slices.Equal(ids, want) {
			t.Errorf("events %v, want %v", ids, want)
		}
		var seen []taskfeed.Type
		for len(frames) > 0 {
			seen = append(seen, (<-frames).Type)
		}
		if !slices.Contains(seen, taskfeed.TypeFeedRead) || !slices.Contains(seen, taskfeed.TypeFeedReadRefused) {
			t.Errorf("frames %q, want the mark of another connection and the refusal", seen)
		}
		for _, c := range s.seen() {
			if !strings.Contains(c.url, "unread=true") {
				t.Errorf("asked for %s, want unread=true", c.url)
			}
		}
	})
}
