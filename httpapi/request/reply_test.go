package request

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// takingWriter is a slow client: each write takes some time.
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

// TestSlowExport: an export that finds few rows writes little, and was cut off as if
// its client read too slowly. Only the time spent on writes counts.
func TestSlowExport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &takingWriter{}
		p := Pace{Write: 5 * time.Second, Start: 30 * time.Second, Answer: time.Hour}
		a := &Reply{ResponseWriter: w, out: http.NewResponseController(w), pace: p}
		write := func() (left time.Duration) {
			began := time.Now()
			if _, err := a.Write([]byte("line\n")); err != nil {
				t.Fatalf("write: %v", err)
			}
			return w.deadline.Sub(began)
		}
		write()
		time.Sleep(5 * time.Minute) // the database takes its time
		if got := write(); got != p.Write {
			t.Errorf("after five minutes of reading a write has %v, want %v", got, p.Write)
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
