package request

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
)

// WriteJSON answers with a JSON document.
func WriteJSON(c echo.Context, status int, body any) error {
	b, err := EncodeJSON(nil, body)
	if err != nil {
		return err
	}
	return c.Blob(status, TypeJSON, b)
}

// EncodeJSON appends the value as one line. Unlike json.Marshal it leaves <, >
// and & as they are: no browser takes this for HTML.
func EncodeJSON(dst []byte, v any) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return b.Bytes(), err
}

// emptyItems is the beginning of a page with an empty list.
var emptyItems = []byte(`{"items":[]`)

var errPageShape = errors.New("a page does not begin with its items")

// WritePage answers with page, whose list must be empty, and puts the view of each item
// into the list. It encodes one item at a time, so a slow client holds the items in
// memory but not their text as well.
func WritePage[T, V any](c echo.Context, page any, items []T, view func(*T) V) error {
	frame, err := EncodeJSON(nil, page)
	if err != nil {
		return err
	}
	tail, ok := bytes.CutPrefix(frame, emptyItems)
	if !ok {
		return errPageShape
	}
	w := c.Response()
	w.Header().Set("Content-Type", TypeJSON)
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, ChunkBytes)
	_, _ = out.Write(emptyItems[:len(emptyItems)-1]) // errors stay until Flush
	for i := range items {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		b, err := EncodeJSON(nil, view(&items[i]))
		if err != nil {
			return err
		}
		if _, err := out.Write(bytes.TrimSuffix(b, newline)); err != nil {
			return err
		}
	}
	_ = out.WriteByte(']')
	_, _ = out.Write(tail)
	return out.Flush()
}

var newline = []byte("\n")

// List is the body of a page.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // absent on the last page
}

// Map returns the view of each item. It never returns nil, which JSON would show as
// null.
func Map[T, V any](items []T, view func(T) V) []V {
	views := make([]V, len(items))
	for i, item := range items {
		views[i] = view(item)
	}
	return views
}

// LinkNext names the next page in the Link header (RFC 8288), relative to this
// URL because a proxy may have added a prefix.
func LinkNext(c echo.Context, next string) {
	if next == "" {
		return
	}
	values := Query(c.Request())
	values.Set("after", next)
	c.Response().Header().Set("Link", "<?"+values.Encode()+`>; rel="next"`)
}
