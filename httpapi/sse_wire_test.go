package httpapi

import (
	"sync"
	"testing"
	"time"
)

// TestCommentsWhileTheLogIsSlow: a stream was silent while its handler waited for a
// long read of the log, and clients with a timeout for silence gave it up.
func TestCommentsWhileTheLogIsSlow(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{CommentInterval: 20 * time.Millisecond}})
	id := f.log.add("alice", "hello", `{}`)[0]
	reading, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.log.failWith(func() error {
		once.Do(func() { close(reading); <-goOn })
		return nil
	})
	c := f.stream(f.token("alice"), "after=0")
	<-reading
	before := c.Parser.Comments
	c.Until("comments come while the log is read", func() bool { return c.Parser.Comments > before+2 })
	close(goOn)
	c.ExpectEvent(id)
	c.ExpectLive(id)
}
