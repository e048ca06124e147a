package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type valuer struct{ token string }

func (v valuer) LogValue() slog.Value { return slog.GroupValue(slog.String("inner", v.token)) }

// Once, a logger derived with With or WithGroup lost the redaction of its handler.
func TestGuardRedactsEverywhere(t *testing.T) {
	t.Parallel()
	token := tokenOf(`{ "alg":"HS256"}`)
	for name, log := range map[string]func(*slog.Logger){
		"the message":         func(l *slog.Logger) { l.Info("refused " + token) },
		"an attribute":        func(l *slog.Logger) { l.Info("x", "a", token) },
		"a key":               func(l *slog.Logger) { l.Info("x", token, 1) },
		"an error":            func(l *slog.Logger) { l.Info("x", "error", fmt.Errorf("read: %w", errors.New(token))) },
		"With":                func(l *slog.Logger) { l.With("a", token).Info("x") },
		"With, the message":   func(l *slog.Logger) { l.With("a", 1).Info(token) },
		"WithGroup":           func(l *slog.Logger) { l.WithGroup("g").Info("x", "a", token) },
		"WithGroup, With":     func(l *slog.Logger) { l.WithGroup("g").With("a", token).WithGroup(token).Info("x", "b", token) },
		"a group":             func(l *slog.Logger) { l.Info("x", slog.Group("g", slog.Group("h", "a", token))) },
		"a LogValuer":         func(l *slog.Logger) { l.Info("x", "a", valuer{token}) },
		"a struct":            func(l *slog.Logger) { l.Info("x", "a", struct{ T string }{token}) },
		"a map":               func(l *slog.Logger) { l.Info("x", "a", map[string]any{"t": []string{token}}) },
		"bytes":               func(l *slog.Logger) { l.Info("x", "a", []byte(token)) },
		"raw JSON":            func(l *slog.Logger) { l.Info("x", "a", json.RawMessage(`{"t":"`+token+`"}`)) },
		"a logger of package": func(l *slog.Logger) { slog.NewLogLogger(l.Handler(), slog.LevelWarn).Print("tls: " + token) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, text := range []bool{true, false} {
				var buf bytes.Buffer
				log(slog.New(Guard(handlerOf(&buf, text))))
				if got := buf.String(); strings.Contains(got, signature) || !strings.Contains(got, Redacted) {
					t.Errorf("got %s, want no token", got)
				}
			}
		})
	}
}

func handlerOf(buf *bytes.Buffer, text bool) slog.Handler {
	if text {
		return slog.NewTextHandler(buf, nil)
	}
	return slog.NewJSONHandler(buf, nil)
}

func TestGuardKeepsWhatIsHarmless(t *testing.T) {
	t.Parallel()
	var plain, guarded bytes.Buffer
	noTime := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	for _, l := range []*slog.Logger{slog.New(slog.NewJSONHandler(&plain, noTime)), slog.New(Guard(slog.NewJSONHandler(&guarded, noTime)))} {
		l.With("n", 1).WithGroup("g").Info("said", "s", "text", "d", time.Second, "err", errors.New("no"), "any", []int{1}, "nil", nil, slog.Group("h", "b", true))
	}
	if plain.String() != guarded.String() {
		t.Errorf("got %s, want %s", &guarded, &plain)
	}
}

// Once, each refused handshake wrote two lines, and strangers could fill a disk with
// them.
func TestFloods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out sync.Mutex
		var buf bytes.Buffer
		l := slog.New(Guard(slog.NewJSONHandler(lockedWriter{&out, &buf}, nil)))
		read := func() string {
			synctest.Wait()
			out.Lock()
			defer out.Unlock()
			defer buf.Reset()
			return buf.String()
		}
		for i := range 1000 {
			l.Info("request", "n", i, Bounded("bad_token"))
			l.With("a", 1).Info("request", "n", i, Bounded("bad_cursor"))
			l.Warn(fmt.Sprintf("http: TLS handshake error from 10.0.0.%d:4711: EOF", i))
			l.Error("a fault of our own", "n", i)
		}
		for range 100 {
			l.Info("request", "status", 200)
		}
		got := read()
		for text, want := range map[string]int{`"msg":"request"`: 120, "TLS handshake": 10, "a fault of our own": 10, "left out": 0, "bounded": 0} {
			if n := strings.Count(got, text); n != want {
				t.Errorf("%d lines with %s, want %d", n, text, want)
			}
		}
		time.Sleep(floodInterval)
		got = read()
		if n := strings.Count(got, `"count":990,`); n != 4 || !strings.Contains(got, `"level":"ERROR","msg":"lines were left out`) || !strings.Contains(got, `"kind":"request: bad_token"`) {
			t.Errorf("got %s, want four lines that tell of 990 left out, one an error", got)
		}

		for range 12 {
			l.Error("a fault of our own")
		}
		read()
		Flush(l.Handler())
		if got := read(); !strings.Contains(got, `"count":2,`) {
			t.Errorf("after a flush: got %s, want 2 left out", got)
		}
		time.Sleep(floodInterval)
		if got := read(); got != "" {
			t.Errorf("got %s, want it told once", got)
		}
	})
}

// A stranger who invents many kinds gets one limit for all of them.
func TestKindsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		l := slog.New(Guard(slog.NewTextHandler(&buf, nil)))
		for i := range 10 * maxKinds {
			l.Info("request", Bounded(fmt.Sprint(i)))
		}
		if got := strings.Count(buf.String(), "\n"); got != maxKinds+floodLines {
			t.Errorf("%d lines, want %d", got, maxKinds+floodLines)
		}
		Flush(l.Handler())
	})
}

type lockedWriter struct {
	mu  *sync.Mutex
	buf *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}
