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

// Network returns a fault proxy for a database, and the URL of the database through it.
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

// Through returns a URL of a database through a man in the middle: down copies the
// server's messages to the client.
func Through(t testing.TB, databaseURL string, down func(client io.Writer, server io.Reader)) string {
	t.Helper()
	return through(t, databaseURL, func(client, server net.Conn) { talk(client, server, down) })
}

// Picky returns a URL of a database through a proxy that behaves like some poolers: it
// refuses a connection with an unknown startup parameter, and names the parameter in
// the error.
func Picky(t testing.TB, databaseURL string) string {
	t.Helper()
	u := parsed(t, through(t, databaseURL, pick))
	query := u.Query()
	query.Set("sslmode", "disable") // the proxy must read the startup message
	u.RawQuery = query.Encode()
	return u.String()
}

// pick passes one connection on, or refuses it because of its startup message.
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
				_, _ = client.Write(refusal) // the client may be gone
				return
			}
		}
	}
	if _, err := server.Write(raw); err != nil {
		return
	}
	talk(client, server, func(client io.Writer, server io.Reader) { _, _ = io.Copy(client, server) })
}

// readStart reads the startup message of a client: its length, which includes the four
// bytes of the length, and a body.
func readStart(client io.Reader) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(client, header); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(header)-4)
	_, err := io.ReadFull(client, body)
	return append(header, body...), err
}

// through calls handle with both ends of each connection.
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

// talk copies the client's messages unchanged, and the server's with down, until either
// side ends.
func talk(client, server net.Conn, down func(client io.Writer, server io.Reader)) {
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close() // ends the other direction
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

// WithoutNotifications copies everything but notifications, as a pooler does that shares
// sessions; see Through. A message is a type, a length that counts itself, and a body.
func WithoutNotifications(client io.Writer, server io.Reader) {
	header := make([]byte, 5)
	for {
		if _, err := io.ReadFull(server, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		const notification = 'A'
		if header[0] == notification {
			continue
		}
		if _, err := client.Write(append(header, body...)); err != nil {
			return
		}
	}
}
