package store_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

func query(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
func parse(sql string) *pgproto3.Parse { return &pgproto3.Parse{Query: sql} }

// proxy returns the URL of a proxy before a database; answer copies what the
// server says.
func proxy(t *testing.T, databaseURL string, answer func(client io.Writer, server io.Reader)) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	target := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			wg.Go(func() {
				_, _ = io.Copy(server, client)
				server.Close()
			})
			wg.Go(func() {
				answer(client, server)
				client.Close()
			})
		}
	})
	u.Host = listener.Addr().String()
	return u.String()
}

// trickle copies a few bytes at a time, at some distance from each other.
func trickle(client io.Writer, server io.Reader) {
	tick := time.NewTicker(300 * time.Microsecond)
	defer tick.Stop()
	buffer := make([]byte, 3)
	for range tick.C {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// swallowNotifications copies everything but notifications, as a pooler does that
// shares sessions. A message is a type, a length that counts itself, and a body.
func swallowNotifications(client io.Writer, server io.Reader) {
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
