package actor

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestReadEvent(t *testing.T) {
	t.Parallel()
	in := bufio.NewReader(strings.NewReader("retry: 2000\n\nid: 7\nevent: note\ndata: {\"id\":7}\n\n:\nid: 9\n\n:\n\nid: x\n\n"))
	for _, want := range []struct {
		name, data string
		id         int64 // 0: none
	}{
		{"", "", 0},
		{"note", `{"id":7}`, 7},
		{"", "", 9},
		{"", "", 0},
	} {
		e, err := readEvent(in)
		if err != nil {
			t.Fatal(err)
		}
		var id int64
		if e.id != nil {
			id = *e.id
		}
		if e.name != want.name || e.data != want.data || id != want.id {
			t.Errorf("got %q %q %d, want %+v", e.name, e.data, id, want)
		}
	}
	if _, err := readEvent(in); err == nil {
		t.Error("an id that is no number: got no error, want one")
	}
	if _, err := readEvent(bufio.NewReader(strings.NewReader("id: 7\n"))); !errors.Is(err, io.EOF) {
		t.Errorf("a torn event: got %v, want EOF", err)
	}
}

// A client counts as marked only when it has seen the marker of its own user.
func TestMarked(t *testing.T) {
	t.Parallel()
	c := &client{cfg: ClientConfig{User: "alice"}, ops: make(map[string]bool)}
	c.saw(markerOf("hand.1", "bob"))
	c.obey(Command{Do: DoMarker, Op: "hand.1"})
	if c.marked() {
		t.Error("bob's marker counts for alice, want hers")
	}
	if c.saw(markerOf("hand.1", "alice")); !c.marked() {
		t.Error("alice has seen her marker, and it does not count")
	}
}
