package pg

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed"
)

// Refuse returns CodeBadRequest, with the name of the field that is wrong.
func Refuse(field, problem string) error {
	return &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: field + " " + problem}
}

// CheckText refuses a text that is longer than any id or that Postgres cannot hold.
func CheckText(field, text string) error {
	if len(text) > taskfeed.MaxIDBytes || !IsText(text) {
		return Refuse(field, fmt.Sprintf("must be at most %d bytes of UTF-8 without NUL characters", taskfeed.MaxIDBytes))
	}
	return nil
}

// IsText reports whether Postgres can hold the text.
func IsText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}
