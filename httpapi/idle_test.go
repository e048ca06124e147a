package httpapi

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/wstest"
)

// TestIdleTimeout: the server closed kept-alive connections after two minutes,
// whatever was configured. A load balancer that keeps them for ten minutes may send
// a request while one is closed, and answers 502.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	const longestUsual = 600 * time.Second // Google Cloud's, which cannot be changed
	f := serve(t, setup{})
	if got := f.httpServer().IdleTimeout; got <= longestUsual {
		t.Errorf("by default %v, want more than %v", got, longestUsual)
	}

	short := serve(t, setup{cfg: Config{IdleTimeout: 50 * time.Millisecond}})
	c := wstest.Connect(t, strings.TrimPrefix(short.url, "http://"))
	c.SendBytes([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
	_ = c.Conn.SetReadDeadline(time.Now().Add(wstest.Patience))
	if answer, err := io.ReadAll(c.Conn); errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("got %q and %v, want an answer and the end of the connection", answer, err)
	}
}
