package inbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
)

// What data may hold besides its bytes. Postgres writes 1e300 with 301 digits, so a small
// message could become a large one; and parsers of apps give up on deep nesting and on
// long numbers, after which such a message would be received again and again.
const (
	maxLevels   = 64
	maxNumber   = 64       // characters
	maxExpanded = 32 << 10 // bytes of the data with all digits of its numbers
)

var (
	errNotObject = errors.New("it is no JSON object")
	errTwice     = errors.New("a field stands twice")
)

// fieldsOf returns the fields of a JSON object by their exact names.
func fieldsOf(raw []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	fields := make(map[string]json.RawMessage)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		if _, ok := fields[name.(string)]; ok {
			return nil, errTwice
		}
		fields[name.(string)] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotObject
	}
	return fields, nil
}

// textOf reads a text; none is the empty one.
func textOf(raw json.RawMessage) (text string, ok bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", true
	}
	// The replacement character stands for half of a surrogate pair: two texts with
	// different halves would be the same.
	if json.Unmarshal(raw, &text) != nil || strings.ContainsRune(text, '\ufffd') {
		return "", false
	}
	return text, true
}

// objection says why data cannot be stored, "" if it can.
func objection(data json.RawMessage) string {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for depth, size := 0, len(data); ; {
		t, err := dec.Token()
		if err != nil {
			return "" // the end
		}
		switch t := t.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				depth++
			} else {
				depth--
			}
		case json.Number:
			if len(t) > maxNumber {
				return "data has a number of more than " + strconv.Itoa(maxNumber) + " characters; send it as text"
			}
			f, err := t.Float64()
			if err != nil {
				return "data has a number that is too large; send it as text"
			}
			if f != 0 {
				size += int(math.Abs(math.Log10(math.Abs(f))))
			}
			if f == 0 && strings.ContainsAny(string(t), "eE") {
				return "data has a number that is too small; send it as text"
			}
		}
		if depth > maxLevels {
			return "data has more than " + strconv.Itoa(maxLevels) + " levels"
		}
		if size > maxExpanded {
			return "data has too many large numbers; send them as text"
		}
	}
}
