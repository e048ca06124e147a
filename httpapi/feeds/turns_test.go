package feeds

import (
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Work is done in its order by few goroutines. Work that waits does not hold up the
// others, and no goroutine is left when all is done.
func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := turns{most: 1}
		var order []int
		gate := make(chan struct{})
		for i := range 2 * keepQueue {
			turns.start(func(mine *turn) {
				if i%100 == 7 {
					mine.yield()
					mine.yield() // no second place
					<-gate
					return
				}
				order = append(order, i) // with one goroutine at a time there is no race
			})
		}
		synctest.Wait()
		if got, want := len(order), 2*keepQueue-21; got != want || !slices.IsSorted(order) {
			t.Errorf("%d pieces of work were done while others wait, want the %d that do not, in order", got, want)
		}
		close(gate)
		synctest.Wait()
		if turns.working != 0 || turns.first != 0 || len(turns.queue) != 0 || cap(turns.queue) > keepQueue {
			t.Errorf("when all is done: %d at work, a queue of %d and memory for %d", turns.working, len(turns.queue), cap(turns.queue))
		}
		turns.start(func(*turn) { order = nil })
		synctest.Wait()
		if order != nil {
			t.Error("work that came later was not done")
		}
	})
}

// The memory of a queue that never becomes empty is bounded by its length.
func TestTurnsWithoutPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := turns{most: 1}
		left, most := 100*keepQueue, 0
		var again func(*turn)
		again = func(*turn) {
			most = max(most, cap(turns.queue))
			if left--; left > 0 {
				turns.start(again)
			}
		}
		turns.start(func(*turn) { turns.start(again); turns.start(func(*turn) { again(nil) }) })
		synctest.Wait()
		if left > 0 || most > 4*keepQueue {
			t.Errorf("%d pieces of work are left, and the queue had memory for %d with two in it, want %d at most", left, most, 4*keepQueue)
		}
	})
}

// At most so many pieces of work are under way as may be.
func TestTurnsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := turns{most: 3}
		began := time.Now()
		for range 10 {
			turns.start(func(*turn) { time.Sleep(time.Second) })
		}
		for turns.busy() {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(began).Round(time.Second); took != 4*time.Second {
			t.Errorf("ten seconds of work by three took %v, want 4s", took)
		}
	})
}

func (t *turns) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.working > 0
}

// writeNow writes what fits and does not wait, also after a write with a deadline.
func TestWriteNow(t *testing.T) {
	t.Parallel()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	client := must(net.Dial("tcp", l.Addr().String()))
	defer client.Close()
	conn := must(l.Accept())
	defer conn.Close()
	c := &socket{feeds: &Feeds{metrics: newMetrics()}, conn: conn}
	sent := 0
	for err := error(nil); err == nil; {
		var n int
		n, err = c.write(nil, make([]byte, 64<<10), time.Millisecond)
		sent += n
	}
	for n := 1; n > 0; sent += n { // until it is full; the system moves bytes meanwhile
		n = writeNow(conn, make([]byte, 64<<10))
	}
	if _, err := io.ReadFull(client, make([]byte, sent)); err != nil {
		t.Fatalf("read what was written: %v", err)
	}
	for began := time.Now(); writeNow(conn, []byte("more")) == 0; runtime.Gosched() { // until the system has seen that there is room
		if time.Since(began) > 20*time.Second {
			t.Fatal("nothing is written although the peer has read everything")
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if got, err := io.ReadAll(client); string(got) != "more" || err != nil {
		t.Errorf("the peer got %d bytes, %v; want what was written at once", len(got), err)
	}
}
