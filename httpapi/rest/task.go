package rest

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// ServeTask answers with one task. Another user's task looks like one that does not
// exist.
func (h *Handlers) ServeTask(c echo.Context, v Viewer) error {
	id, err := request.ReadID(c, "id")
	if err != nil {
		return err
	}
	t, err := h.findTask(c.Request().Context(), v, id)
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("ETag", taskTag(&t.Task))
	header.Set("Cache-Control", "private, no-cache")
	if matches(c.Request().Header.Values("If-None-Match"), taskTag(&t.Task)) {
		return c.NoContent(http.StatusNotModified)
	}
	t.Task = viewTask(t.Task)
	if len(t.Large) > 0 {
		return h.writeLargeTask(c, &t)
	}
	request.KeepMemory(c, 4*taskBytes(&t.Task))
	return writeTask(c, t.Task)
}

func (h *Handlers) findTask(ctx context.Context, v Viewer, id string) (history.WholeTask, error) {
	if v.all {
		return h.history.FindTask(ctx, id)
	}
	return h.history.FindUserTask(ctx, v.users(), id)
}

// writeTask answers with a task. Its result is written unchanged: it is already
// JSON, may be large, and may be nested deeper than encoding/json allows.
func writeTask(c echo.Context, t taskfeed.Task) error {
	result := t.Result
	t.Result = nil
	b, err := request.EncodeJSON(nil, t)
	if err != nil {
		return err
	}
	parts := [][]byte{b}
	if result != nil {
		parts = [][]byte{b[:len(b)-len("}\n")], []byte(`,"result":`), result, []byte("}\n")}
	}
	w, length := c.Response(), 0
	for _, part := range parts {
		length += len(part)
	}
	w.Header().Set("Content-Type", request.TypeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(http.StatusOK)
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// writeLargeTask answers with a task that is too large for memory. Its large fields are
// read in pieces, and each piece is written before the next is read, so neither memory
// nor a database connection is held while the client reads. The answer has no
// Content-Length; one that was cut off lacks the last chunk.
func (h *Handlers) writeLargeTask(c echo.Context, t *history.WholeTask) error {
	head, err := request.EncodeJSON(nil, t.Task)
	if err != nil {
		return err
	}
	ctx, cancel := request.AnswerContext(c, h.answerTime)
	defer cancel()
	w := c.Response()
	if c.Request().Method == http.MethodHead {
		w.Header().Set("Content-Type", request.TypeJSON)
		return c.NoContent(http.StatusOK)
	}
	next, stop := iter.Pull2(h.largeFields(ctx, t))
	defer stop()
	piece, err, more := next() // before the answer begins, so its error can still be answered
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", request.TypeJSON)
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, request.ChunkBytes)
	_, _ = out.Write(head[:len(head)-len("}\n")]) // errors stay until Flush
	for ; more && err == nil; piece, err, more = next() {
		_, err = out.WriteString(piece)
		if err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	_, _ = out.WriteString("}\n")
	return out.Flush()
}

// largeFields yields the large fields of a task as JSON, a comma before each. A
// result is already JSON; a piece of another field is escaped, and the quotes are
// separate.
func (h *Handlers) largeFields(ctx context.Context, t *history.WholeTask) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, f := range t.Large {
			quote, escape := `"`, quotedPiece
			if f.Name == "result" {
				quote, escape = "", func(text string) (string, error) { return text, nil }
			}
			before := `,"` + f.Name + `":` + quote
			for piece, err := range h.history.TaskText(ctx, t, f) {
				if err == nil {
					piece, err = escape(piece)
				}
				if !yield(before+piece, err) || err != nil {
					return
				}
				before = ""
			}
			if quote != "" && !yield(quote, nil) {
				return
			}
		}
	}
}

// quotedPiece escapes text for the inside of a JSON string.
func quotedPiece(text string) (string, error) {
	b, err := request.EncodeJSON(nil, text)
	if err != nil {
		return "", err
	}
	return string(b[1 : len(b)-len("\"\n")]), nil
}

// taskTag is the ETag of a task, its version and time. The time distinguishes the task
// from a deleted one with the same id.
func taskTag(t *taskfeed.Task) string {
	return fmt.Sprintf(`"%d-%s"`, t.Version, strconv.FormatInt(t.UpdatedAt.UnixMicro(), 36))
}

// matches reports whether an If-None-Match header names the tag (RFC 9110
// section 13.1.2, weak comparison).
func matches(headers []string, tag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
}
