package store_test

import (
	"github.com/jackc/pgx/v5/pgproto3"
)

func query(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
func parse(sql string) *pgproto3.Parse { return &pgproto3.Parse{Query: sql} }
