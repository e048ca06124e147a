package pgtest

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Picky returns a URL that leads to a database through what poolers are: a
// connection that begins with a parameter which it does not keep for its clients is
// refused, with the parameter in the error.
func Picky(t testing.TB, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal("pgtest: the database URL cannot be parsed")
	}
	target := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("pgtest: listen: %v", err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close() // ends the loop
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { pass(client, target) })
		}
	})
	u.Host = l.Addr().String()
	query := u.Query()
	query.Set("sslmode", "disable") // the start must be readable
	u.RawQuery = query.Encode()
	return u.String()
}

// pass copies one connection unless its start is refused.
func pass(client net.Conn, target string) {
	defer client.Close()
	header := make([]byte, 4)
	if _, err := io.ReadFull(client, header); err != nil {
		return
	}
	body := make([]byte, binary.BigEndian.Uint32(header)-4)
	if _, err := io.ReadFull(client, body); err != nil {
		return
	}
	var start pgproto3.StartupMessage
	if start.Decode(body) == nil {
		for name := range start.Parameters {
			if name != "user" && name != "database" && name != "application_name" {
				refusal, _ := (&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: " + name}).Encode(nil)
				_, _ = client.Write(refusal) // the client may have gone
				return
			}
		}
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	if _, err := server.Write(append(header, body...)); err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close() // ends the other way
	})
	_, _ = io.Copy(client, server)
	_ = client.Close()
	wg.Wait()
}
