package verify

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// receiver is the endpoint of all forwards. It takes most events at once; with the others
// it fails, hangs, is slow, hangs up or lies, as their ids and the seed say. It records
// every request.
type receiver struct {
	seed   uint64
	url    string
	out    *history.File
	server *http.Server
	work   sync.WaitGroup

	mu    sync.Mutex
	tries map[string]int    // by forward and id
	met   map[string]manner // by forward and id
	news  map[string]int    // events that came, by forward
	last  map[string]string // the process that sent last, by forward
	down  time.Time         // it takes nothing until then
	kind  bool              // it takes everything
	bad   int64             // requests that it did not take
}

// manner is how the receiver meets an event: its first tries, of so many in a thousand
// events.
type manner struct {
	name   string
	of     uint64
	tries  int  // 0: all
	took   bool // it has the event
	clear  bool // and says so
	answer http.HandlerFunc
}

// A tenth of the events of a round: each that is not taken delays those of its user by a
// second or more.
var manners = []manner{
	{name: "refused for ever", of: 3, answer: status(http.StatusInternalServerError)},
	{name: "refused", of: 4, tries: 2, answer: status(http.StatusBadGateway)},
	{name: "unknown", of: 2, tries: 1, answer: status(http.StatusNotFound)},
	{name: "later", of: 3, tries: 1, answer: later},
	{name: "hung", of: 2, tries: 1, answer: hang},
	{name: "hung up", of: 4, tries: 1, answer: hangUp},
	{name: "redirected", of: 3, tries: 1, answer: redirect},
	{name: "taken, and hung up", of: 4, tries: 1, took: true, answer: hangUp},
	{name: "taken slowly", of: 20, tries: 1, took: true, clear: true, answer: slow},
	{name: "taken with an error", of: 20, tries: 1, took: true, clear: true, answer: lie},
	{name: "taken at length", of: 4, tries: 1, took: true, clear: true, answer: talk},
}

// The other manners.
var (
	takes = manner{name: "taken", took: true, clear: true, answer: status(http.StatusNoContent)}
	away  = manner{name: "down", answer: hangUp}
	trap  = manner{name: "followed the redirect", answer: status(http.StatusNoContent)}
)

const (
	slowness = 300 * time.Millisecond
	longTalk = 4 << 20 // bytes
	trapPath = "/trap/"
)

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func later(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
}

func hang(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func redirect(w http.ResponseWriter, req *http.Request) {
	http.Redirect(w, req, trapPath+strings.TrimPrefix(req.URL.Path, "/"), http.StatusTemporaryRedirect)
}

func slow(w http.ResponseWriter, req *http.Request) {
	pause.For(req.Context(), slowness)
	w.WriteHeader(http.StatusOK)
}

func lie(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `{"error":"internal error, please send this again"}`) // the status counts
}

func talk(w http.ResponseWriter, _ *http.Request) {
	piece := strings.Repeat("x", 64<<10)
	for n := 0; n < longTalk; n += len(piece) {
		if _, err := io.WriteString(w, piece); err != nil {
			return // the forward has heard enough
		}
	}
}

// newReceiver starts a receiver. The caller closes it.
func newReceiver(dir string, seed uint64) (*receiver, error) {
	out, err := history.Create(dir, "hooks.jsonl")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	c := &receiver{seed: seed, url: "http://" + l.Addr().String(), out: out, tries: make(map[string]int), met: make(map[string]manner), news: make(map[string]int), last: make(map[string]string)}
	c.server = &http.Server{Handler: c, ErrorLog: log.New(io.Discard, "", 0)}
	c.work.Go(func() { _ = c.server.Serve(l) }) // ends with close
	return c, nil
}

func (c *receiver) close() error {
	err := c.server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.server.Shutdown(ctx) // waits for handlers
	c.work.Wait()
	return errors.Join(err, c.out.Close())
}

// ServeHTTP implements http.Handler. The path is that of the forward and its process.
func (c *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := history.Hook{T: history.Now(), Wall: time.Now().UnixNano(), ID: req.Header.Get("webhook-id"),
		Timestamp: req.Header.Get("webhook-timestamp"), Signature: req.Header.Get("webhook-signature")}
	path, trapped := strings.CutPrefix(req.URL.Path, trapPath)
	h.Forward, h.Process, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the forward has not sent it
	}
	h.Body = string(body)
	m := c.meet(h.Forward, h.Process, h.ID)
	if trapped {
		m = trap
	}
	h.Answer, h.Took, h.Clear = m.name, m.took, m.clear
	defer func() {
		h.End = history.Now()
		c.out.Append(h)
	}()
	m.answer(w, req)
}

// meet notes a request and returns how to meet it.
func (c *receiver) meet(forward, process, id string) manner {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last[forward] = process
	key := forward + " " + id
	c.tries[key]++
	m, known := c.met[key]
	if !known {
		m = c.mannerOf(forward, key)
		c.met[key] = m
	}
	switch {
	case c.kind:
		m = takes
	case time.Now().Before(c.down):
		m = away
	case m.tries > 0 && c.tries[key] > m.tries:
		m = takes
	}
	if !m.clear {
		c.bad++
	}
	return m
}

// apart is how many events come from one with a manner to the next, at the beginning.
const apart = 3

// mannerOf returns how the receiver meets a new event. The first events go through all
// manners, so that a short round has them too.
func (c *receiver) mannerOf(forward, key string) manner {
	i := c.news[forward]
	c.news[forward]++
	if i < apart*len(manners) {
		if i%apart == 0 {
			return manners[i/apart]
		}
		return takes
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, strconv.FormatUint(c.seed, 10)+key) // never fails
	n := h.Sum64() % 1000
	for _, m := range manners {
		if n < m.of {
			return m
		}
		n -= m.of
	}
	return takes
}

// sender returns the process that sent last under a name, "" when there is none yet.
func (c *receiver) sender(forward string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[forward]
}

// goDown makes the receiver take nothing for a while.
func (c *receiver) goDown(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = time.Now().Add(d)
}

// beKind makes the receiver take everything from now on.
func (c *receiver) beKind() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kind = true
}

// refused returns how many requests were not taken so far.
func (c *receiver) refused() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bad
}
