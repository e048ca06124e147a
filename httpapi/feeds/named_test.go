package feeds

import (
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

// A stream of all users adds the user of each event. Other streams, and broadcasts,
// have the frames unchanged.
func TestStreamOfAllUsersNamesThem(t *testing.T) {
	t.Parallel()
	frame := func(userID, data string) *hub.Frame {
		e := &taskfeed.Event{ID: 1, UserID: userID, Type: "ready", Data: []byte(data)}
		return &hub.Frame{ID: 1, UserID: userID, Bytes: taskfeed.AppendFrame(nil, e)}
	}
	const head = `{"id":1,"type":"ready","timestamp":"0001-01-01T00:00:00.000000Z"`
	for _, c := range []struct {
		name   string
		named  bool
		userID string
		data   string
		want   string
	}{
		{"of all users", true, "alice", `{"a":1}`, head + `,"a":1,"user_id":"alice"}`},
		{"of all users, without data", true, "alice", `{}`, head + `,"user_id":"alice"}`},
		{"of all users, an id to be escaped", true, `a"b`, `{}`, head + `,"user_id":"a\"b"}`},
		{"of all users, a field of that name", true, "alice", `{"user_id":"eve"}`, head + `,"user_id":"alice"}`},
		{"of all users, a broadcast", true, "", `{"a":1}`, head + `,"a":1}`},
		{"of one user", false, "alice", `{"a":1}`, head + `,"a":1}`},
		{"of one user, a broadcast", false, "", `{"a":1}`, head + `,"a":1}`},
		{"of one user, of a group", false, `te"am`, `{"a":1}`, head + `,"a":1,"feed":"te\"am"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := frame(c.userID, c.data)
			before := string(f.Bytes)
			if got := string((&stream{named: c.named, owner: "alice"}).payload(f)); got != c.want {
				t.Errorf("payload: got %s, want %s", got, c.want)
			}
			if got := string(f.Bytes); got != before {
				t.Errorf("the frame, which others share: got %s, want it unchanged: %s", got, before)
			}
		})
	}
}
