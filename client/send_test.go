package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

// messageOf reads the next message of the client.
func (p *peer) messageOf() (ref, text string) {
	_, raw, err := p.conn.ReadMessage()
	if err != nil {
		p.t.Errorf("read a message: %v", err)
	}
	var m struct{ Type, Ref, Topic, TaskID string }
	if err := json.Unmarshal(raw, &m); err != nil || m.Type != "message" || m.Ref == "" {
		p.t.Errorf("got %s, want a message", raw)
	}
	return m.Ref, string(raw)
}

func ack(ref string, id int) string {
	return fmt.Sprintf(`{"type":"message_ack","ref":%q,"id":%d}`, ref, id)
}

func nack(ref, code string, retry int) string {
	return fmt.Sprintf(`{"type":"message_nack","ref":%q,"code":%q,"detail":"no","retry_after":%d}`, ref, code, retry)
}

// running runs the feed until the test ends it.
func running(t *testing.T, cfg client.Config, handle func(*client.Feed, taskfeed.Event)) (f *client.Feed, end func() error) {
	t.Helper()
	f = mustNew(t, cfg)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- f.Run(ctx, func(_ context.Context, e taskfeed.Event) error { handle(f, e); return nil })
	}()
	return f, func() error { stop(); return <-ended }
}

func nothing(*client.Feed, taskfeed.Event) {}

func TestSend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var texts []string
		part := func(then func(p *peer, ref string)) func(*peer) {
			return func(p *peer) {
				ref, text := p.upgrade().send(live(1)).messageOf()
				texts = append(texts, text)
				then(p, ref)
			}
		}
		s := play(t,
			part(func(p *peer, _ string) { p.cut() }), // the answer is lost
			part(func(p *peer, ref string) {
				p.send(ack("of another", 3), nack(ref, "rate_limited", 7))
				at := time.Now()
				_, text := p.messageOf()
				texts = append(texts, text)
				if waited := time.Since(at); waited != 7*time.Second {
					t.Errorf("sent again after %s, want 7s", waited)
				}
				p.send(ack(ref, 18)).hold()
			}))
		f, end := running(t, s.config(), nothing)
		id, err := f.Send(t.Context(), client.Message{Topic: "cancel", TaskID: "t1", Data: map[string]string{"why": "slow"}})
		if id != 18 || err != nil {
			t.Errorf("got %d, %v, want 18", id, err)
		}
		if err := end(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if len(texts) != 3 || len(slices.Compact(texts)) != 1 || !strings.Contains(texts[0], `"topic":"cancel","task_id":"t1","data":{"why":"slow"}`) {
			t.Errorf("sent %q, want the same message three times", texts)
		}
	})
}

func TestSendIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(p *peer) {
			ref, _ := p.upgrade().send(live(1)).messageOf()
			p.send(nack(ref, "topic_not_allowed", 0)).hold()
		})
		f, end := running(t, s.config(), nothing)
		_, err := f.Send(t.Context(), client.Message{Topic: "x", Ref: "mine"})
		if got := taskfeed.CodeOf(err); got != taskfeed.CodeTopicNotAllowed || !contains(err, "no") {
			t.Errorf("got %v, want the server's code and detail", err)
		}
		for _, m := range []client.Message{{Topic: "x", Ref: strings.Repeat("x", 65)}, {Topic: "x", Ref: "a\n"}, {Topic: "x", Data: strings.Repeat("x", 16<<10)}, {Topic: "x", Data: func() {}}} {
			if _, err := f.Send(t.Context(), m); err == nil {
				t.Errorf("%.60v: no error", m)
			}
		}
		_ = end()
	})
}

// The handler may wait for the answer to its own message, though events come before it.
func TestSendFromTheHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(p *peer) {
			p.upgrade().send(live(0), event(1))
			ref, _ := p.messageOf()
			for i := 2; i < 20; i++ {
				p.send(event(i))
			}
			p.send(ack(ref, 5)).hold()
		})
		sent := make(chan int64, 1)
		_, end := running(t, s.config(), func(f *client.Feed, e taskfeed.Event) {
			if e.ID == 1 {
				id, err := f.Send(t.Context(), client.Message{Topic: "cancel"})
				if err != nil {
					t.Errorf("Send: %v", err)
				}
				sent <- id
			}
		})
		if id := <-sent; id != 5 {
			t.Errorf("got %d, want 5", id)
		}
		_ = end()
	})
}

func TestSendEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, sends(live(1)))
		f, end := running(t, s.config(), nothing)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := f.Send(ctx, client.Message{Topic: "cancel"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a server that never answers: got %v, want the error of the context", err)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := f.Send(t.Context(), client.Message{Topic: "cancel"})
			failed <- err
		}()
		synctest.Wait()
		_ = end()
		if err := <-failed; !errors.Is(err, client.ErrEnded) {
			t.Errorf("Run has ended: got %v, want %v", err, client.ErrEnded)
		}
	})
}

// An app's own event may be called like an answer. It is an event.
func TestEventsNamedLikeAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(p *peer) {
			ref, _ := p.upgrade().send(live(1)).messageOf()
			p.send(fmt.Sprintf(`{"id":2,"type":"message_ack","timestamp":"2026-11-22T10:00:00.000000Z","ref":%q}`, ref), ack(ref, 18)).hold()
		})
		came := make(chan taskfeed.Event, 1)
		f, end := running(t, s.config(), func(_ *client.Feed, e taskfeed.Event) { came <- e })
		if id, err := f.Send(t.Context(), client.Message{Topic: "x"}); id != 18 || err != nil {
			t.Errorf("got %d, %v, want 18", id, err)
		}
		if e := <-came; e.ID != 2 || e.Type != "message_ack" {
			t.Errorf("got %+v, want the event 2", e)
		}
		_ = end()
	})
}
