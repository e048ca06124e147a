package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

// store is a cursor store that records what was saved and fails on demand.
type store struct {
	cursor  taskfeed.Cursor
	known   bool
	saves   []taskfeed.Cursor
	loadErr error
	saveErr error
}

func (s *store) Load(context.Context) (taskfeed.Cursor, bool, error) {
	return s.cursor, s.known, s.loadErr
}

func (s *store) Save(ctx context.Context, c taskfeed.Cursor) error {
	if err := errors.Join(s.saveErr, ctx.Err()); err != nil {
		return err
	}
	s.cursor, s.known, s.saves = c, true, append(s.saves, c)
	return nil
}

func TestCursorIsSavedAfterTheHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, sends(event(8), event(9), live(20), live(15), event(21)))
		st := &store{cursor: 7, known: true}
		cfg := s.config()
		cfg.CursorStore = st
		cfg.After = new(taskfeed.Cursor) // the stored one wins
		ctx, stop := context.WithCancel(t.Context())
		before := []taskfeed.Cursor{}
		err := mustNew(t, cfg).Run(ctx, func(_ context.Context, e taskfeed.Event) error {
			before = append(before, st.cursor)
			if e.ID == 21 {
				stop() // what was handled is saved all the same
			}
			return nil
		})
		if err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
		if want := []taskfeed.Cursor{7, 8, 20}; !slices.Equal(before, want) {
			t.Errorf("saved when the handler began: got %v, want %v", before, want)
		}
		if want := []taskfeed.Cursor{8, 9, 20, 21}; !slices.Equal(st.saves, want) {
			t.Errorf("saves: got %v, want %v", st.saves, want)
		}
		if got, want := s.afters(), []string{"7"}; !slices.Equal(got, want) {
			t.Errorf("cursors sent: got %v, want %v", got, want)
		}
	})
}

func TestCursorStoreFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		store *store
		parts []func(*peer)
	}{
		"to load":                         {&store{loadErr: errTest}, nil},
		"to save after an event":          {&store{saveErr: errTest}, []func(*peer){sends(event(1))}},
		"to save at the replay's end":     {&store{saveErr: errTest}, []func(*peer){sends(live(1))}},
		"to save at a reset":              {&store{saveErr: errTest}, []func(*peer){sends(reset("expired", 1))}},
		"by loading what cannot be an id": {&store{cursor: -1, known: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := play(t, c.parts...).config()
				cfg.CursorStore = c.store
				if err := runErr(t, cfg); err == nil || c.store.cursor == 0 && !errors.Is(err, errTest) {
					t.Errorf("Run: got %v, want %v", err, errTest)
				}
			})
		})
	}
}

func TestMemoryCursorLastsFromRunToRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, sends(event(5)), sends(event(6)))
		f := mustNew(t, s.config())
		for range 2 {
			ctx, stop := context.WithCancel(t.Context())
			if err := f.Run(ctx, func(context.Context, taskfeed.Event) error { stop(); return nil }); err != nil {
				t.Fatalf("Run: got %v, want nil", err)
			}
		}
		if got, want := s.afters(), []string{"-", "5"}; !slices.Equal(got, want) {
			t.Errorf("cursors sent: got %v, want %v", got, want)
		}
	})
}

func TestFileCursor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cursor")
	load := func(want taskfeed.Cursor, wantKnown bool) {
		t.Helper()
		got, known, err := client.FileCursor(path).Load(t.Context())
		if got != want || known != wantKnown || err != nil {
			t.Errorf("Load: got %s, %t, %v, want %s, %t, nil", got, known, err, want, wantKnown)
		}
	}
	load(0, false)
	for _, c := range []taskfeed.Cursor{taskfeed.MaxID, 4711, 0} {
		if err := client.FileCursor(path).Save(t.Context(), c); err != nil {
			t.Fatalf("Save %s: %v", c, err)
		}
		load(c, true)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: got %v, %v, want mode 0600", info.Mode(), err)
	}

	for _, text := range []string{"", "12\n", "0000000000004711"} { // made, or written by hand
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want, _ := taskfeed.ParseCursor(text[:min(len(text), 16)])
		if text == "12\n" {
			want = 12
		}
		load(want, text != "")
	}
	for _, text := range []string{"x", "-1", "99999999999999999", "1\n2"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, _, err := client.FileCursor(path).Load(t.Context()); taskfeed.CodeOf(err) != taskfeed.CodeBadCursor {
			t.Errorf("Load of %q: got %s, %v, want CodeBadCursor", text, c, err)
		}
	}
	missing := client.FileCursor(filepath.Join(path, "no", "directory"))
	if err := missing.Save(t.Context(), 1); err == nil {
		t.Error("Save without a directory: got nil, want an error")
	}
	if _, _, err := missing.Load(t.Context()); err == nil {
		t.Error("Load below a file: got nil, want an error")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := client.Config{URL: "http://localhost:8080", UserID: "alice", Token: client.StaticToken("x")}
	for want, change := range map[string]func(*client.Config){
		"UserID":                  func(c *client.Config) { c.UserID = "" },
		"Token":                   func(c *client.Config) { c.Token = nil },
		"After":                   func(c *client.Config) { c.After = new(taskfeed.Cursor(-1)) },
		"Backoff.Min":             func(c *client.Config) { c.Backoff.Min = -1 },
		"Client":                  func(c *client.Config) { c.Client = "a b" },
		"ProgressInterval":        func(c *client.Config) { c.ProgressInterval = 1 },
		"Backoff.Max":             func(c *client.Config) { c.Backoff.Max = 1 },
		"PeerTimeout":             func(c *client.Config) { c.PeerTimeout = -1 },
		"Feeds":                   func(c *client.Config) { c.Feeds = []string{"team", ""} },
		"Types":                   func(c *client.Config) { c.Types = []taskfeed.Type{"a,b"} },
		"URL must be like":        func(c *client.Config) { c.URL = "localhost:8080" },
		"URL must begin":          func(c *client.Config) { c.URL = "ftp://localhost" },
		"URL must have no":        func(c *client.Config) { c.URL = "http://localhost?token=pass%77ord" },
		"URL must have no user":   func(c *client.Config) { c.URL = "http://me:pass%77ord@localhost" },
		"URL must be like https:": func(c *client.Config) { c.URL = "http://me:password@local host" },
	} {
		cfg := good
		change(&cfg)
		_, err := client.New(cfg)
		if err == nil || !contains(err, want) || contains(err, "pass") {
			t.Errorf("New: got %v, want an error that says %q and repeats no password", err, want)
		}
	}
	if _, err := client.New(client.Config{}); !contains(err, "URL") || !contains(err, "UserID") || !contains(err, "Token") {
		t.Errorf("New with nothing: got %v, want all that is missing", err)
	}
}
