package main

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/ssetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// visitor is a browser with its cookies.
type visitor struct {
	*testing.T
	http.Client
	site *url.URL
}

func visit(t *testing.T, site string) *visitor {
	t.Helper()
	u, err := url.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	jar, _ := cookiejar.New(nil) // never fails
	v := &visitor{T: t, Client: http.Client{Jar: jar}, site: u}
	t.Cleanup(v.CloseIdleConnections)
	return v
}

func (v *visitor) post(path string, form url.Values, want int) {
	v.Helper()
	w, err := v.PostForm(v.site.String()+path, form)
	if err != nil {
		v.Fatal(err)
	}
	defer w.Body.Close()
	if w.StatusCode != want {
		v.Fatalf("%s: %s, want %d", path, w.Status, want)
	}
}

// header is what the browser sends with a request of the page.
func (v *visitor) header() http.Header {
	r := http.Request{Header: http.Header{}}
	for _, c := range v.Jar.Cookies(v.site) {
		r.AddCookie(c)
	}
	return r.Header
}

// startApp runs the app on a database without the schema.
func startApp(t *testing.T) (site string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	database := pgtest.Empty(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, database, listener, 10*time.Millisecond) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the app ended with %v, want an ordered end", err)
		}
	})
	return "http://" + listener.Addr().String()
}

func (v *visitor) eventually(what string, status int, path string) {
	v.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		w, err := v.Get(v.site.String() + path)
		if err == nil {
			w.Body.Close()
			if w.StatusCode == status {
				return
			}
		}
		select {
		case <-deadline:
			v.Fatalf("%s: not in time: %v %v", what, w, err)
		case <-tick.C:
		}
	}
}

// Whoever is signed in sees their own tasks move, and nobody else does.
func TestSignedInUsersSeeTheirTasks(t *testing.T) {
	t.Parallel()
	site := startApp(t)
	alice, bob := visit(t, site), visit(t, site)
	alice.eventually("the feeds are ready", http.StatusOK, "/feeds/readyz")
	alice.eventually("a stranger is refused", http.StatusUnauthorized, "/feeds/v1/events/stream")
	alice.post("/tasks", nil, http.StatusUnauthorized)
	alice.post("/login", url.Values{"user": {"alice"}}, http.StatusOK)
	bob.post("/login", url.Values{"user": {"bob"}}, http.StatusOK)

	stream := ssetest.Open(t, site+"/feeds/v1/events/stream", alice.header())
	other := ssetest.Open(t, site+"/feeds/v1/events/stream", bob.header())
	stream.ExpectLive(0)
	other.ExpectLive(0)
	alice.post("/tasks", nil, http.StatusAccepted)
	var last taskfeed.Frame
	for last = stream.Frame(); last.Type != taskfeed.TypeTaskCompleted; last = stream.Frame() {
	}
	if got := last.Event.Version; got != 5 {
		t.Errorf("completed with version %d, want 5: queued and four steps", got)
	}
	bob.post("/tasks", nil, http.StatusAccepted)
	if f := other.Frame(); f.Type != taskfeed.TypeTaskQueued || f.Event.TaskID == last.Event.TaskID {
		t.Errorf("bob's first event is %s of %s, want that of his own task", f.Type, f.Event.TaskID)
	}
}
