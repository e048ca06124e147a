package pg_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

func TestCodes(t *testing.T) {
	t.Parallel()
	states := map[taskfeed.Code][]string{
		taskfeed.CodeUnavailable: {
			"08000", "08006", // connection
			"40001", "40P01", // serialisation, deadlock
			"53100", "53200", "53300", // disk, memory, connections
			"55P03", "55006", // a lock, an object in use
			"57014", "57P01", "57P02", "57P03", "57P05", // cancelled, stopping, crashed, starting, idle
			"58030", // the disk
			"25006", // read-only
			"42501", // a right or a policy: an administrator mends it
		},
		taskfeed.CodeBadRequest: {"22021"},
		taskfeed.CodeInternal:   {"42P01", "42601", "28P01", "3D000", "23505", "22003", "25P02", "XX000", "0A000", "2200H", "", "5"},
	}
	for want, codes := range states {
		for _, state := range codes {
			err := pg.Wrap("try", fmt.Errorf("deep: %w", &pgconn.PgError{Code: state, Message: "m"}))
			if got := taskfeed.CodeOf(err); got != want {
				t.Errorf("SQLSTATE %q: code %q, want %q", state, got, want)
			}
		}
	}
	faults := map[taskfeed.Code][]error{
		taskfeed.CodeUnavailable: {context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
			&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, &pgconn.ConnectError{}},
		taskfeed.CodeInternal: {errors.New("x"), context.Canceled},
	}
	for want, errs := range faults {
		for _, fault := range errs {
			if got := taskfeed.CodeOf(pg.Wrap("try", fmt.Errorf("deep: %w", fault))); got != want {
				t.Errorf("%T %v: code %q, want %q", fault, fault, got, want)
			}
		}
	}
	if err := pg.Wrap("try", nil); err != nil {
		t.Errorf("no error: got %v, want nil", err)
	}
	if err := pg.Wrap("try this", io.EOF); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "try this") {
		t.Errorf("got %v, want the cause kept and what was being done named", err)
	}
}
