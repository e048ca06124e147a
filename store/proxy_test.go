package store_test

import (
	"encoding/binary"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"
)

func query(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
func parse(sql string) *pgproto3.Parse { return &pgproto3.Parse{Query: sql} }

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
