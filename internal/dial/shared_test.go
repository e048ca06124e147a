package dial_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/lab/netfault"
)

// Bad input 69 through a pooler that also refuses parameters: search_path, set for a
// session, would apply to an app, which would no longer find its tables. The error says
// which setting to use.
func TestSharedSessions(t *testing.T) {
	t.Parallel()
	url := pooler(t)
	conn, err := dial.Connect(t.Context(), dial.Config{URL: url}, nil)
	if _, ok := errors.AsType[*dial.SharedError](err); !ok {
		t.Errorf("a session: got %v, error %v, want a SharedError", conn, err)
	}
	if _, err = dial.OpenDB(t.Context(), dial.Config{URL: url}, ""); err == nil {
		t.Error("a session of database/sql: got no error, want a SharedError")
	} else if _, ok := errors.AsType[*dial.SharedError](err); !ok {
		t.Errorf("a session of database/sql: got error %v, want a SharedError", err)
	}
}

// pooler answers like a pooler with a single session: every client gets backend 42. It
// refuses connections that begin with a search_path.
func pooler(t *testing.T) (url string) {
	t.Helper()
	s, err := netfault.Serve(func(_ context.Context, client net.Conn) { answer(pgproto3.NewBackend(client, client)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return "postgres://u@" + s.Addr() + "/db?sslmode=disable"
}

func answer(b *pgproto3.Backend) {
	start, err := b.ReceiveStartupMessage()
	if m, ok := start.(*pgproto3.StartupMessage); err != nil || !ok || m.Parameters["search_path"] != "" {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: search_path"})
		_ = b.Flush() // the client may have gone
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		if err != nil {
			return
		}
		switch m.(type) {
		case *pgproto3.Parse:
			b.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Bind:
			b.Send(&pgproto3.BindComplete{})
		case *pgproto3.Describe:
			b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("pg_backend_pid"), DataTypeOID: pgtype.Int4OID, DataTypeSize: 4, TypeModifier: -1}}})
		case *pgproto3.Execute:
			b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("42")}})
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		case *pgproto3.Sync:
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}
	}
}
