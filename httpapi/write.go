package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
)

// writeJSON answers with a JSON document.
func writeJSON(c echo.Context, status int, body any) error {
	b, err := encodeJSON(nil, body)
	if err != nil {
		return err
	}
	return c.Blob(status, typeJSON, b)
}

// encodeJSON appends the value as one line. Unlike json.Marshal it leaves <, >
// and & as they are: no browser takes this for HTML.
func encodeJSON(dst []byte, v any) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return b.Bytes(), err
}

// emptyItems is how a page begins whose list has no items.
var emptyItems = []byte(`{"items":[]`)

var errPageShape = errors.New("a page does not begin with its items")

// writePage answers with a page: the document, whose list is empty, with what view
// makes of the items in it. One item is encoded at a time: a client that does not
// read costs the page as it was read, not a second time as text.
func writePage[T, V any](c echo.Context, page any, items []T, view func(*T) V) error {
	frame, err := encodeJSON(nil, page)
	if err != nil {
		return err
	}
	tail, ok := bytes.CutPrefix(frame, emptyItems)
	if !ok {
		return errPageShape
	}
	w := c.Response()
	w.Header().Set("Content-Type", typeJSON)
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, chunkBytes)
	_, _ = out.Write(emptyItems[:len(emptyItems)-1]) // errors stay until Flush
	for i := range items {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		b, err := encodeJSON(nil, view(&items[i]))
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
