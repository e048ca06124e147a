package httpapi

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/history"
)

// TestEmptyPage: a page that found nothing yet is no last page. The list in it is
// empty and not null, and the next one is where the store says.
func TestEmptyPage(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{log: history.EventPage{Items: []taskfeed.Event{}, Next: "further"}}, Config{})
	for path, token := range map[string]string{"/v1/events?type=none&limit=7": f.adminToken(), "/v1/me/events?type=none&limit=7": f.token("alice")} {
		resp, body := f.getAs(token, path)
		if want := `{"items":[],"next":"further"}` + "\n"; resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %s, want 200 %s", path, resp.StatusCode, body, want)
			continue
		}
		if got := linkOf(t, resp).Query(); got.Get("after") != "further" || got.Get("type") != "none" || got.Get("limit") != "7" {
			t.Errorf("%s: next page asks for %v, want the same after=further", path, got)
		}
	}
}

// takingWriter is a client that takes its time for each write.
type takingWriter struct {
	http.ResponseWriter
	takes    time.Duration
	deadline time.Time // for the last write
}

func (w *takingWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *takingWriter) Write(p []byte) (int, error) {
	time.Sleep(w.takes)
	return len(p), nil
}

// TestSlowExport: an export that finds little says little, and was cut off as if
// its client took too little. What counts is how long the client is waited for.
func TestSlowExport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &takingWriter{}
		cfg := Config{WriteTimeout: 5 * time.Second, RequestTimeout: 30 * time.Second, AnswerTime: time.Hour}
		a := &reply{ResponseWriter: w, out: http.NewResponseController(w), cfg: &cfg}
		write := func() (left time.Duration) {
			began := time.Now()
			if _, err := a.Write([]byte("line\n")); err != nil {
				t.Fatalf("write: %v", err)
			}
			return w.deadline.Sub(began)
		}
		write()
		time.Sleep(5 * time.Minute) // the database is read
		if got := write(); got != cfg.WriteTimeout {
			t.Errorf("after five minutes of reading a write has %v, want %v", got, cfg.WriteTimeout)
		}
		w.takes = 4 * time.Second
		for range 8 {
			write()
		}
		if got := write(); got > 0 {
			t.Errorf("a client that has been waited for half a minute has %v, want none", got)
		}
	})
}
