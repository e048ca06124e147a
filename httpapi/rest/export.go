package rest

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"iter"
	"net/http"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// An export is a list without pages, as NDJSON or CSV. It is written while it is read,
// so memory does not grow with its length. If reading fails in the middle or the client
// is too slow, the connection is cut. An export that ends with its last chunk is
// complete.

const (
	// exportChunk is about how many bytes are collected for one write.
	exportChunk = 32 << 10
	// maxExports is how many exports may run at the same time, at most one of a user:
	// each keeps the database busy for as long as its client reads.
	maxExports = 4
)

var errOwnExport = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
	Message: "an export of this user is under way; end it or wait for its end"}

var errTooManyExports = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
	Message: "as many exports run as this server allows; try again when one has ended"}

// exportSlots knows which users have an export in progress. It is safe for concurrent
// use.
type exportSlots struct {
	mu    sync.Mutex
	users map[string]bool
}

// begin takes a slot for an export of the user. end gives it back.
func (x *exportSlots) begin(userID string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.users[userID]:
		return errOwnExport
	case len(x.users) >= maxExports:
		return errTooManyExports
	}
	x.users[userID] = true
	return nil
}

func (x *exportSlots) end(userID string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.users, userID)
}

// sheet says how items of one kind are exported.
type sheet[T any] struct {
	name    string // of the file, without its ending
	columns []string
	row     func(T) []string // of CSV, in the order of the columns
	view    func(T) any      // a line of NDJSON
}

// exportAll answers with everything that items yields. An error before the first chunk
// is full is answered with a problem document.
func exportAll[T any](h *Handlers, c echo.Context, v Viewer, p *request.Params, kind string, sh sheet[T], items func(context.Context) iter.Seq2[T, error]) error {
	if _, ok := p.One("limit"); ok {
		p.Refuse("limit", "means nothing to an export, which has no pages; leave it out")
	}
	if err := p.Done(); err != nil {
		return err
	}
	out := &exporter{c: c, kind: kind, name: sh.name}
	if c.Request().Method == http.MethodHead {
		out.begin()
		return nil
	}
	if err := h.exports.begin(v.caller.UserID); err != nil {
		return err
	}
	defer h.exports.end(v.caller.UserID)
	ctx, cancel := request.AnswerContext(c, h.answerTime)
	defer cancel()
	return writeAll(out, sh, items(ctx))
}

// writeAll writes the items, chunk by chunk.
func writeAll[T any](out *exporter, sh sheet[T], items iter.Seq2[T, error]) error {
	add := sh.encoder(out.kind, &out.buf)
	for item, err := range items {
		if err == nil {
			err = add(item)
		}
		if err == nil && out.buf.Len() >= exportChunk {
			err = out.flush()
		}
		if err != nil {
			return err
		}
	}
	return out.flush()
}

// encoder returns what appends an item to the buffer.
func (sh sheet[T]) encoder(kind string, buf *bytes.Buffer) func(T) error {
	if kind == request.TypeNDJSON {
		lines := json.NewEncoder(buf)
		lines.SetEscapeHTML(false)
		return func(item T) error { return lines.Encode(sh.view(item)) }
	}
	table := csv.NewWriter(buf)
	table.UseCRLF = true // RFC 4180
	write := func(row []string) error {
		err := table.Write(row)
		table.Flush()
		return err
	}
	_ = write(sh.columns) // a write to a buffer cannot fail
	return func(item T) error { return write(escapeFormulas(sh.row(item))) }
}

// escapeFormulas puts an apostrophe before cells that a spreadsheet would run as a
// formula.
func escapeFormulas(row []string) []string {
	for i, cell := range row {
		if cell != "" && strings.IndexByte("=+-@\t\r\n", cell[0]) >= 0 {
			row[i] = "'" + cell
		}
	}
	return row
}

// exporter writes one export.
type exporter struct {
	c    echo.Context
	kind string
	name string
	buf  bytes.Buffer
	out  *http.ResponseController
}

// begin sends the header.
func (x *exporter) begin() {
	w := x.c.Response()
	ending := map[string]string{request.TypeNDJSON: ".ndjson", request.TypeCSV: ".csv"}[x.kind]
	w.Header().Set("Content-Type", x.kind+"; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+x.name+ending+`"`)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	x.out = http.NewResponseController(w.Writer)
}

// flush writes the collected bytes.
func (x *exporter) flush() error {
	if !x.c.Response().Committed {
		x.begin()
	}
	if _, err := x.buf.WriteTo(x.c.Response()); err != nil {
		return err
	}
	return x.out.Flush()
}
