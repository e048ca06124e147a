package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
)

// fakeStore calls its functions.
type fakeStore struct {
	add     func([]taskfeed.Message, taskfeed.InboxLimits) ([]taskfeed.Stored, error)
	waiting func() (int, error)
}

func (s fakeStore) AddMessages(_ context.Context, m []taskfeed.Message, l taskfeed.InboxLimits) ([]taskfeed.Stored, error) {
	return s.add(m, l)
}

func (s fakeStore) WaitingMessages(context.Context) (int, error) {
	if s.waiting == nil {
		return 0, nil
	}
	return s.waiting()
}

// storedAll gives messages the ids from 1 on.
func storedAll(m []taskfeed.Message, _ taskfeed.InboxLimits) ([]taskfeed.Stored, error) {
	stored := make([]taskfeed.Stored, len(m))
	for i := range stored {
		stored[i].ID = int64(i) + 1
	}
	return stored, nil
}

// run runs an inbox until the end of the test.
func run(t *testing.T, store fakeStore, cfg Config) (in *Inbox, stop func()) {
	t.Helper()
	if cfg.Topics == nil {
		cfg.Topics = []string{"cancel"}
	}
	in, err := New(store, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := in.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return in, stop
}

// send sends a message and returns its answer.
func send(in *Inbox, raw string) Answer {
	answered := make(chan Answer, 1)
	in.Take("alice", nil, []byte(raw), func(a Answer) { answered <- a })
	return <-answered
}

const good = `{"ref":"1","topic":"cancel"}`

func TestRefusals(t *testing.T) {
	t.Parallel()
	in, _ := run(t, fakeStore{add: storedAll}, Config{PerMinute: -1})
	long := strings.Repeat("x", taskfeed.MaxMessageDataBytes)
	for raw, want := range map[string]taskfeed.Code{
		good: "",
		`{"type":"message","ref":"1","topic":"cancel","task_id":"t","data":{"a":1},"new":1}`: "",
		`{"ref":"1","topic":"cancel","data":null}`:                                           "",
		`{"ref":"` + strings.Repeat("é", 32) + `","topic":"cancel"}`:                         "",
		`{"ref":"1","topic":"cancel","data":{"a":"` + long[8:] + `"}}`:                       "",
		`{"ref":"1","topic":"cancel","data":{"a":"` + long[7:] + `"}}`:                       taskfeed.CodeTooLarge,
		`{"ref":"1","topic":"Cancel"}`:                                                       taskfeed.CodeTopicNotAllowed,
		`{"ref":"1"}`:                                                                        taskfeed.CodeTopicNotAllowed,
		`{"topic":"cancel"}`:                                                                 taskfeed.CodeBadRequest,
		`{"ref":"","topic":"cancel"}`:                                                        taskfeed.CodeBadRequest,
		`{"ref":7,"topic":"cancel"}`:                                                         taskfeed.CodeBadRequest,
		`{"ref":"` + strings.Repeat("é", 32) + `1","topic":"cancel"}`:                        taskfeed.CodeBadRequest,
		`{"ref":"a\nb","topic":"cancel"}`:                                                    taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","task_id":"a\u0000b"}`:                                  taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","task_id":"` + strings.Repeat("x", 256) + `"}`:          taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":[1]}`:                                            taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":"x"}`:                                            taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":7}`:                                              taskfeed.CodeBadRequest,
		`[` + good + `]`:                                                                     taskfeed.CodeBadRequest,
		`null`:                                                                               taskfeed.CodeBadRequest,
		``:                                                                                   taskfeed.CodeBadRequest,
		`  `:                                                                                 taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel"`:                                                        taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}}`:     "",
		`{"ref":"1","topic":"cancel","data":{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}}`:     taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":{"a":` + strings.Repeat("[", 6000) + strings.Repeat("]", 6000) + `}}`: taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":{"a":[1e300,-2.5e-300,0,0.0,123456789012345678901234567890]}}`:        "",
		`{"ref":"1","topic":"cancel","data":{"a":1e309}}`:                                                         taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":{"a":1e131071}}`:                                                      taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":{"a":1e-131071}}`:                                                     taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":{"a":` + strings.Repeat("9", 65) + `}}`:                               taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","data":{"a":[` + strings.Repeat("1e300,", 200) + `1]}}`:                      taskfeed.CodeBadRequest,
		`{"ref":"m\ud800","topic":"cancel"}`:                                                                      taskfeed.CodeBadRequest,
		`{"ref":"1","topic":"cancel","task_id":"w\udfff"}`:                                                        taskfeed.CodeBadRequest,
		`{"ref":"1","ref":"2","topic":"cancel"}`:                                                                  taskfeed.CodeBadRequest,
		`{"ref":"1","Ref":"2","topic":"cancel","TOPIC":"other"}`:                                                  "",
		`{"Ref":"1","topic":"cancel"}`:                                                                            taskfeed.CodeBadRequest,
		good + good:                                                                                               taskfeed.CodeBadRequest,
		"{\"ref\":\"\xff\",\"topic\":\"cancel\"}":                                                                 taskfeed.CodeBadRequest,
	} {
		a := send(in, raw)
		got := taskfeed.Code("")
		if a.Err != nil {
			got = a.Err.Code
		}
		if got != want || (a.ID != 0) != (want == "") || a.Retry != 0 {
			t.Errorf("bad input 158: %.80s: got %+v, want the code %q", raw, a, want)
		}
	}
	var off *Inbox
	if a := send(off, good); a.Err != errOff || a.Ref != "1" {
		t.Errorf("an inbox that is off: got %+v, want %v", a, errOff)
	}
}

func TestRateOfAUser(t *testing.T) {
	t.Parallel()
	in, _ := run(t, fakeStore{add: storedAll}, Config{PerMinute: 2})
	for i, want := range []*taskfeed.Error{nil, nil, errRate} {
		if a := send(in, good); a.Err != want || (a.Retry > 0) != (want != nil) {
			t.Errorf("bad input 159: message %d: got %+v, want the refusal %v", i+1, a, want)
		}
	}
}

// While one batch is stored, messages gather, and all of them are the next batch.
func TestOneStatementForMany(t *testing.T) {
	t.Parallel()
	var batches []int
	proceed := make(chan struct{})
	in, stop := run(t, fakeStore{add: func(m []taskfeed.Message, l taskfeed.InboxLimits) ([]taskfeed.Stored, error) {
		batches = append(batches, len(m))
		<-proceed
		return storedAll(m, l)
	}}, Config{PerMinute: -1})
	answers := make(chan Answer, 1000)
	take := func() { in.Take("alice", nil, []byte(good), func(a Answer) { answers <- a }) }
	take()
	proceed <- struct{}{}
	<-answers
	take()
	for {
		in.mu.Lock()
		taken := in.queue == nil
		in.mu.Unlock()
		if taken {
			break
		}
	}
	for range 700 {
		take()
	}
	close(proceed)
	for range 701 {
		if a := <-answers; a.Err != nil {
			t.Errorf("got %v, want it to be stored", a.Err)
		}
	}
	stop()
	if got, want := fmt.Sprint(batches), "[1 1 500 200]"; got != want {
		t.Errorf("got batches of %s messages, want %s", got, want)
	}
}

// A message that the database refuses does not cost the others of its batch.
func TestOneBadMessageAmongMany(t *testing.T) {
	t.Parallel()
	statements := 0
	in, stop := run(t, fakeStore{add: func(m []taskfeed.Message, l taskfeed.InboxLimits) ([]taskfeed.Stored, error) {
		statements++
		for _, one := range m {
			if one.Ref == "bad" {
				return nil, &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "bad"}
			}
		}
		return storedAll(m, l)
	}}, Config{PerMinute: -1})
	var batch []queued
	answers := make(map[string]Answer)
	for i := range 100 {
		ref := fmt.Sprint(i)
		if i == 37 {
			ref = "bad"
		}
		batch = append(batch, queued{taskfeed.Message{Ref: ref}, func(a Answer) { answers[ref] = a }})
	}
	stop()
	in.storeAll(t.Context(), batch)
	for ref, a := range answers {
		if (a.Err != nil) != (ref == "bad") {
			t.Errorf("bad input 160: message %s: got %+v", ref, a)
		}
	}
	if len(answers) != 100 || statements > 16 {
		t.Errorf("got %d answers after %d statements, want 100 after 16 at most", len(answers), statements)
	}
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	readOnly := &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "read-only"}
	failure := errors.New("the disk is on fire")
	in, stop := run(t, fakeStore{add: func([]taskfeed.Message, taskfeed.InboxLimits) ([]taskfeed.Stored, error) { return nil, failure }}, Config{})
	if a := send(in, good); a.Err != errBusy || a.Retry == 0 {
		t.Errorf("bad input 159: got %+v, want the client to send it again later", a)
	}
	failure = readOnly
	if a := send(in, good); a.Err != readOnly || a.Retry == 0 {
		t.Errorf("got %+v, want the reason of the store, and when to send it again", a)
	}
	stop()
	if a := send(in, good); a.Err != errBusy || a.Retry == 0 {
		t.Errorf("after Run: got %+v, want the client to send it again later", a)
	}
}

// The number of all waiting messages is read once a second, and counted between.
func TestTotal(t *testing.T) {
	t.Parallel()
	var rooms []int
	in, stop := run(t, fakeStore{
		add: func(m []taskfeed.Message, l taskfeed.InboxLimits) ([]taskfeed.Stored, error) {
			rooms = append(rooms, l.Room)
			return storedAll(m, l)
		},
		waiting: func() (int, error) { return 8, nil },
	}, Config{Total: 9})
	in.counted = time.Time{}
	for range 3 {
		send(in, good)
	}
	stop()
	if got, want := fmt.Sprint(rooms), "[1 0 0]"; got != want {
		t.Errorf("bad input 159: got room for %s new messages, want %s", got, want)
	}
}

// What waits for the database is bounded.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	in, stop := run(t, fakeStore{add: storedAll}, Config{PerMinute: -1})
	stop()
	in.closed = false
	refused := 0
	data := `{"a":"` + strings.Repeat("x", 16000) + `"}`
	raw := []byte(`{"ref":"1","topic":"cancel","data":` + data + `}`)
	for range maxQueuedBytes/len(data) + 3 {
		in.Take("alice", nil, raw, func(a Answer) {
			if a.Err == errBusy {
				refused++
			}
		})
	}
	if refused != 3 {
		t.Errorf("bad input 159: %d messages refused, want 3: those over %d bytes", refused, maxQueuedBytes)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for want, a := range map[string]Answer{
		`{"type":"message_ack","ref":"<1>","id":7}`:                                                                 {Ref: "<1>", ID: 7},
		`{"type":"message_nack","code":"bad_request","detail":"no"}`:                                                {Err: bad("no")},
		`{"type":"message_nack","ref":"1","code":"unavailable","detail":"` + errBusy.Message + `","retry_after":2}`: {Ref: "1", Err: errBusy, Retry: 1500 * time.Millisecond},
	} {
		if got := string(a.Frame()); got != want || !json.Valid([]byte(got)) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{}, {Topics: []string{"a b"}}, {Topics: []string{""}}, {Topics: []string{"a"}, Total: -1}, {Topics: []string{"a"}, PerUser: -1}} {
		if _, err := New(fakeStore{}, cfg, nil); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}
