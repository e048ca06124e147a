package store

import (
	"context"
	"fmt"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// OtherDatabaseError says that the two URLs of a Config lead to different databases: then
// changes in one of them would never be moved.
type OtherDatabaseError struct {
	URL, ListenURL string // the names of the databases
}

func (e *OtherDatabaseError) Error() string {
	return fmt.Sprintf("DATABASE_URL leads to the database %q and TASKFEED_LISTEN_DATABASE_URL to %q, which is another one: both must lead to one database, or the second be left out", e.URL, e.ListenURL)
}

// sqlDatabase identifies a database: the cluster, and which one in it.
const sqlDatabase = `
SELECT concat_ws('/', c.system_identifier, d.oid), d.datname
FROM pg_control_system() AS c, pg_database AS d
WHERE d.datname = current_database()`

// CheckSameDatabase returns an OtherDatabaseError when the two URLs lead to different
// databases. It needs no schema.
func (s *Store) CheckSameDatabase(ctx context.Context) error {
	if s.cfg.ListenURL == s.cfg.URL {
		return nil
	}
	var pooled, direct struct{ id, name string }
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err := s.checks.Do(ctx, func(db pg.Conn) error { return db.QueryRow(ctx, sqlDatabase).Scan(&pooled.id, &pooled.name) })
	if err != nil {
		return pg.Wrap("find out which database it is", err)
	}
	session, err := s.OpenSession(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := session.conn.QueryRow(ctx, sqlDatabase).Scan(&direct.id, &direct.name); err != nil {
		return pg.Wrap("find out which database it is", err)
	}
	if pooled.id != direct.id {
		return &OtherDatabaseError{URL: pooled.name, ListenURL: direct.name}
	}
	return nil
}
