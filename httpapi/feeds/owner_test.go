package feeds

import (
	"encoding/json"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

// TestBadInput140ForgedOwners: notify('alice', 'x', '{"user_id": "bob"}') reached an
// admin's stream with two fields user_id, and parsers that use the first took it for
// an event of bob. Only the server sets the field; broadcasts have none.
func TestBadInput140ForgedOwners(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"user_id": "bob"}`: "", `{"a": 1, "user_id": {"x": [1, "}"]}, "z": 2}`: `,"a": 1,"z": 2`, `{"user_id": 1, "z": 1e400}`: `,"z": 1e400`,
		`{"a": {"user_id": "bob"}}`: `,"a": {"user_id": "bob"}`, `{"a": "user_id", "b": 12345678901234567890}`: `,"a": "user_id", "b": 12345678901234567890`,
		`{"my_user_id": 1, "user_id ": 2, "User_id": 3}`: `,"my_user_id": 1, "user_id ": 2, "User_id": 3`, `{"\u0075ser_id": "bob", "b": "\\"}`: `,"b": "\\"`,
		`{"b": "\"user_id\": 1"}`: `,"b": "\"user_id\": 1"`, `{}`: "", `{"user_id": null}`: "",
	} {
		for _, user := range []string{"alice", `<"ü>`, ""} {
			e := taskfeed.Event{ID: 7, UserID: user, Type: "x", Data: json.RawMessage(data)}
			frame := taskfeed.AppendFrame(nil, &e)
			before := string(frame)
			got := string(appendOwned(nil, &hub.Frame{ID: 7, UserID: user, Type: "x", Bytes: frame}))
			if string(frame) != before {
				t.Fatalf("%s: the frame that all share became %s", before, frame)
			}
			owner := ""
			if user != "" {
				quoted, _ := json.Marshal(user)
				owner = `,"user_id":` + string(quoted)
			}
			head := `{"id":7,"type":"x","timestamp":"0001-01-01T00:00:00.000000Z"`
			if got != head+want+owner+"}" {
				t.Errorf("data %s of %q: got %s, want %s", data, user, got, head+want+owner+"}")
			}
		}
	}
}
