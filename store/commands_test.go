package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

func commandsAfter(t *testing.T, s *store.Store, id int64) (commands []taskfeed.Command, arguments []string) {
	t.Helper()
	commands, err := s.CommandsAfter(t.Context(), id)
	if err != nil {
		t.Fatalf("commands after %d: %v", id, err)
	}
	for _, c := range commands {
		arguments = append(arguments, c.Argument)
	}
	return commands, arguments
}

func command(t *testing.T, s *store.Store, kind taskfeed.CommandKind, argument string) {
	t.Helper()
	if err := s.Command(t.Context(), kind, argument); err != nil {
		t.Fatalf("command %s %q: %v", kind, argument, err)
	}
}

func lastCommand(t *testing.T, s *store.Store) int64 {
	t.Helper()
	last, err := s.LastCommand(t.Context())
	if err != nil {
		t.Fatalf("last command: %v", err)
	}
	return last
}

func TestCommands(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := openStore(t, store.Config{URL: url})
	if got := lastCommand(t, s); got != 0 {
		t.Fatalf("last command of none: got %d, want 0", got)
	}
	command(t, s, taskfeed.CommandDisconnectUser, "'; DROP TABLE taskfeed.commands; --")
	started := lastCommand(t, s)
	command(t, s, taskfeed.CommandDisconnectUser, "alice")
	command(t, s, taskfeed.CommandDisconnectConnection, "7")
	commands, arguments := commandsAfter(t, s, started)
	wantEqual(t, "since the start", arguments, []string{"alice", "7"})
	first := commands[0]
	if first.Kind != taskfeed.CommandDisconnectUser || commands[1].Kind != taskfeed.CommandDisconnectConnection || time.Since(first.CreatedAt).Abs() > time.Hour {
		t.Errorf("commands: got %+v, want the kinds given, and the present time", commands)
	}
	if _, arguments := commandsAfter(t, s, commands[1].ID); len(arguments) > 0 {
		t.Errorf("after the last one: got %q, want none", arguments)
	}
}

func TestBadCommands(t *testing.T) {
	t.Parallel()
	s := openStore(t, store.Config{URL: "postgres://nobody@127.0.0.1:1/nowhere"})
	wantRefused(t, "kind", "kind", s.Command(t.Context(), "drop_database", "x"))
	for _, argument := range []string{"", "a\x00", "\xff", strings.Repeat("x", 256)} {
		wantRefused(t, fmt.Sprintf("%.10q", argument), "argument", s.Command(t.Context(), taskfeed.CommandDisconnectUser, argument))
	}
}

func TestOldCommandsAreForgotten(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := openStore(t, store.Config{URL: url})
	conn := pgtest.Connect(t, url)
	for _, argument := range []string{"old", "young"} {
		command(t, s, taskfeed.CommandDisconnectUser, argument)
	}
	exec(t, conn, "UPDATE taskfeed.commands SET created_at = now() - interval '61 minutes' WHERE argument = 'old'")
	exec(t, conn, "UPDATE taskfeed.commands SET created_at = now() - interval '59 minutes' WHERE argument = 'young'")
	command(t, s, taskfeed.CommandDisconnectUser, "new")
	_, arguments := commandsAfter(t, s, 0)
	wantEqual(t, "commands", arguments, []string{"young", "new"})
}

// A reader that has seen a command has seen all before it: a command waits for commands
// with lower ids that are not committed yet.
func TestCommandsInOrder(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := openStore(t, store.Config{URL: url})
	conn, slow := pgtest.Connect(t, url), pgtest.Connect(t, url)
	exec(t, slow, `BEGIN; LOCK TABLE taskfeed.commands IN SHARE ROW EXCLUSIVE MODE;
		INSERT INTO taskfeed.commands (kind, argument) VALUES ('disconnect_user', 'first')`)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Command(t.Context(), taskfeed.CommandDisconnectUser, "second"); err != nil {
			t.Errorf("command: %v", err)
		}
	})
	eventually(t, "the second command's wait for the first", func() bool {
		return value[bool](t, conn, "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'taskfeed.commands'::regclass AND NOT granted)")
	})
	exec(t, slow, "COMMIT")
	wg.Wait()
	_, arguments := commandsAfter(t, s, 0)
	wantEqual(t, "commands", arguments, []string{"first", "second"})
}

// After a failover that lost the last commits, ids that a server has seen are used for
// new commands.
func TestCommandsComeAgain(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := openStore(t, store.Config{URL: url})
	conn := pgtest.Connect(t, url)
	for _, argument := range []string{"one", "two", "three"} {
		command(t, s, taskfeed.CommandDisconnectUser, argument)
	}
	seen := lastCommand(t, s)
	exec(t, conn, "DELETE FROM taskfeed.commands WHERE argument <> 'one'")
	exec(t, conn, "SELECT setval('taskfeed.commands_id_seq', 1)")
	command(t, s, taskfeed.CommandDisconnectUser, "other")
	_, arguments := commandsAfter(t, s, seen)
	wantEqual(t, "after the loss", arguments, []string{"one", "other"})
}

// wantRefused expects a bad request whose message names the field.
func wantRefused(t *testing.T, name, field string, err error) {
	t.Helper()
	e, _ := errors.AsType[*taskfeed.Error](err)
	if e == nil || e.Code != taskfeed.CodeBadRequest || !strings.HasPrefix(e.Message, field+" ") {
		t.Errorf("%s: got %v, want %s that begins with %q", name, err, taskfeed.CodeBadRequest, field)
	}
}
