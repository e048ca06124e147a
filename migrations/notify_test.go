package migrations_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestNotifyAndBroadcast(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, c := range []struct{ name, do, want string }{
		{"notify", `SELECT taskfeed.notify('alice', 'invoice.paid', '{"amount": 12.50}')`, `alice invoice.paid {"amount": 12.50}`},
		{"notify without data", `SELECT taskfeed.notify('alice', 'hello')`, `alice hello {}`},
		{"notify with named arguments", `SELECT taskfeed.notify(user_id => 'alice', type => 'hello', data => '{"a": 1}')`, `alice hello {"a": 1}`},
		{"broadcast", `SELECT taskfeed.broadcast('maintenance', '{"at": "noon"}')`, `* maintenance {"at": "noon"}`},
		{"broadcast without data", `SELECT taskfeed.broadcast(type => 'hello')`, `* hello {}`},
		{"the longest type", `SELECT taskfeed.broadcast('a' || repeat('.', 63))`, `* a` + strings.Repeat(".", 63) + ` {}`},
		{"a type near a reserved one", `SELECT taskfeed.broadcast('task:x'), taskfeed.broadcast('Feed_x')`, `* task:x {}|* Feed_x {}`},
		{"reserved keys below the top", `SELECT taskfeed.broadcast('a', '{"task": {"id": 1, "type": 2}}')`, `* a {"task": {"id": 1, "type": 2}}`},
		{"unicode", `SELECT taskfeed.notify('álice 💚', 'a', '{"ключ": "\ud83d\udc9a"}')`, `álice 💚 a {"ключ": "💚"}`},
		{"the longest user id", `SELECT taskfeed.notify(repeat('é', 127) || 'x', 'a')`, strings.Repeat("é", 127) + `x a {}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *s
			s.t = t
			s.exec(c.do)
			s.wantCaptured(strings.Split(c.want, "|")...)
		})
	}
}

func TestNotifyRefusals(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, c := range []struct{ name, do, want string }{
		{"no type", `taskfeed.notify('alice', NULL)`, "1 to 64 letters"},
		{"an empty type", `taskfeed.notify('alice', '')`, "1 to 64 letters"},
		{"a type of 65 bytes", `taskfeed.broadcast(repeat('a', 65))`, "1 to 64 letters"},
		{"a type with a space", `taskfeed.broadcast('a b')`, "1 to 64 letters"},
		{"a type with a line end", `taskfeed.broadcast(E'a\n')`, "1 to 64 letters"},
		{"a type that is not ASCII", `taskfeed.broadcast('é')`, "1 to 64 letters"},
		{"a type that begins with a digit", `taskfeed.broadcast('1a')`, "1 to 64 letters"},
		{"a task's type", `taskfeed.notify('alice', 'task_completed')`, "reserved"},
		{"the protocol's type", `taskfeed.broadcast('feed_reset')`, "reserved"},
		{"no data", `taskfeed.notify('alice', 'a', NULL)`, "JSON object"},
		{"a JSON null", `taskfeed.notify('alice', 'a', 'null')`, "JSON object"},
		{"an array", `taskfeed.broadcast('a', '[{}]')`, "JSON object"},
		{"a scalar", `taskfeed.broadcast('a', '"text"')`, "JSON object"},
		{"the key id", `taskfeed.broadcast('a', '{"id": 1}')`, `key "id"`},
		{"the key type", `taskfeed.broadcast('a', '{"type": 1}')`, `key "type"`},
		{"the key timestamp", `taskfeed.broadcast('a', '{"timestamp": 1}')`, `key "timestamp"`},
		{"the key task_id", `taskfeed.broadcast('a', '{"task_id": 1}')`, `key "task_id"`},
		{"the key version", `taskfeed.broadcast('a', '{"version": null}')`, `key "version"`},
		{"large data", `taskfeed.broadcast('a', jsonb_build_object('k', repeat('x', 262144)))`, "262153 bytes long and at most 262144"},
		{"huge data", `taskfeed.broadcast('a', jsonb_build_object('k', repeat(repeat('x', 1000), 50000)))`, "at most 262144"},
		{"deep data", `taskfeed.broadcast('a', ('{"k":' || repeat('[', 512) || repeat(']', 512) || '}')::jsonb)`, "nested"},
		{"very deep data", `taskfeed.broadcast('a', ('{"k":' || repeat('[', 5000) || repeat(']', 5000) || '}')::jsonb)`, "nested"},
		{"no user", `taskfeed.notify(NULL, 'a')`, "user_id must be"},
		{"an empty user id", `taskfeed.notify('', 'a')`, "user_id must be"},
		{"a user id of 256 bytes", `taskfeed.notify(repeat('é', 128), 'a')`, "user_id must be"},
		{"a user id with a control character", `taskfeed.notify(E'a\x1b', 'a')`, "user_id must be"},
	} {
		t.Run("bad input 9: "+c.name, func(t *testing.T) {
			s := *s
			s.t = t
			err := s.refused("22023", "SELECT "+c.do)
			if !strings.HasPrefix(err.Message, "taskfeed: ") || !strings.Contains(err.Message, c.want) {
				t.Errorf("message %q, want one that begins with %q and says %q", err.Message, "taskfeed: ", c.want)
			}
			s.wantCaptured()
		})
	}
}

// The largest data that is allowed is captured as it is.
func TestNotifyTakesDataUpToTheLimit(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`SELECT taskfeed.broadcast('a', jsonb_build_object('k', repeat('x', 262135)))`)
	if got := one[int](s, `SELECT octet_length(data::text) FROM taskfeed.changes`); got != 262144 {
		t.Errorf("%d bytes captured, want 262144", got)
	}
	s.exec(fmt.Sprintf(`SELECT taskfeed.broadcast('a', ('{"k":' || repeat('[', %[1]d) || repeat(']', %[1]d) || '}')::jsonb)`, 511))
	if got := one[int](s, `SELECT count(*) FROM taskfeed.changes`); got != 2 {
		t.Errorf("%d changes, want 2", got)
	}
}
