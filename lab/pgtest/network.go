package pgtest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/taskfeed/taskfeed/lab/netfault"
)

// Network returns a proxy before a database, for the test to make as bad as it
// likes, and the URL of the database through it.
func Network(t testing.TB, databaseURL string) (*netfault.Proxy, string) {
	t.Helper()
	u := parsed(t, databaseURL)
	p, err := netfault.New("tcp", u.Host)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(p.Close)
	u.Host = p.Addr()
	return p, u.String()
}

// Through returns a URL that leads to a database through somebody in the middle:
// down copies what the server says to the client.
func Through(t testing.TB, databaseURL string, down func(client io.Writer, server io.Reader)) string {
	t.Helper()
	return through(t, databaseURL, func(client, server net.Conn) { talk(client, server, down) })
}

// Picky returns a URL that leads to a database through what poolers are: a
// connection that begins with a parameter which it does not keep for its clients is
// refused, with the parameter in the error.
func Picky(t testing.TB, databaseURL string) string {
	t.Helper()
	u := parsed(t, through(t, databaseURL, pick))
	query := u.Query()
	query.Set("sslmode", "disable") // the start must be readable
	u.RawQuery = query.Encode()
	return u.String()
}

// pick passes one connection on unless its start is refused.
func pick(client, server net.Conn) {
	raw, err := readStart(client)
	if err != nil {
		return
	}
	var start pgproto3.StartupMessage
	if start.Decode(raw[4:]) == nil {
		for name := range start.Parameters {
			if name != "user" && name != "database" && name != "application_name" {
				refusal, _ := (&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: " + name}).Encode(nil)
				_, _ = client.Write(refusal) // the client may have gone
				return
			}
		}
	}
	if _, err := server.Write(raw); err != nil {
		return
	}
	talk(client, server, func(client io.Writer, server io.Reader) { _, _ = io.Copy(client, server) })
}

// readStart reads the first message of a client: a length that counts itself, and a
// body.
func readStart(client io.Reader) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(client, header); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(header)-4)
	_, err := io.ReadFull(client, body)
	return append(header, body...), err
}

// through leads each connection to a function that has both ends of it.
func through(t testing.TB, databaseURL string, handle func(client, server net.Conn)) string {
	t.Helper()
	u := parsed(t, databaseURL)
	target := u.Host
	s, err := netfault.Serve(func(ctx context.Context, client net.Conn) {
		server, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
		if err != nil {
			return
		}
		defer server.Close()
		handle(client, server)
	})
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(s.Close)
	u.Host = s.Addr()
	return u.String()
}

// talk copies what the client says as it is, until either side has ended.
func talk(client, server net.Conn, down func(client io.Writer, server io.Reader)) {
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close() // ends the other way
	})
	down(client, server)
	_ = client.Close()
	up.Wait()
}

func parsed(t testing.TB, databaseURL string) *url.URL {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal("pgtest: the database URL cannot be parsed")
	}
	return u
}
