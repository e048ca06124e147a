package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// parseAttachFile reads the file of an attachment: a JSON object, or YAML of plain
// keys and values, some of them with keys and values below. That is all that a
// mapping needs; anything else of YAML is refused.
func parseAttachFile(text []byte) (map[string]any, error) {
	object := map[string]any{}
	if trimmed := bytes.TrimSpace(text); bytes.HasPrefix(trimmed, []byte("{")) {
		err := json.Unmarshal(trimmed, &object)
		return object, err
	}
	var below map[string]any
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' || trimmed == "---" {
			continue
		}
		key, value, err := yamlPair(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		into := object
		if line[0] == ' ' {
			into = below
		}
		if into == nil {
			return nil, fmt.Errorf("line %d: it is indented and nothing above it has keys below", number)
		}
		if _, twice := into[key]; twice {
			return nil, fmt.Errorf("line %d: the key %s comes twice", number, key)
		}
		if into[key] = value; line[0] == ' ' {
			continue
		}
		below = nil
		if value == nil {
			below = map[string]any{}
			object[key] = below
		}
	}
	return object, nil
}

// yamlSigns begin what is no plain text.
const yamlSigns = "&*!|>[]{}%@`-,?"

// yamlPair reads "key: value". A value that is not there is nil.
func yamlPair(line string) (key string, value any, err error) {
	if strings.ContainsRune(line, '\t') {
		return "", nil, fmt.Errorf("it has a tab: indent by spaces")
	}
	text := strings.TrimSpace(line)
	key, rest, err := yamlScalar(text, ":")
	switch {
	case err != nil:
		return "", nil, err
	case text[0] != '"' && text[0] != '\'' && strings.ContainsAny(text[:1], yamlSigns):
		return "", nil, fmt.Errorf("write the key in quotes: %q means something else in YAML", key)
	}
	if rest, err = afterColon(rest); err != nil || rest == "" || rest[0] == '#' {
		return key, nil, err
	}
	quoted := rest[0] == '"' || rest[0] == '\''
	scalar, rest, err := yamlScalar(rest, " #")
	switch rest = strings.TrimSpace(rest); {
	case err != nil:
		return "", nil, err
	case rest != "" && rest[0] != '#':
		return "", nil, fmt.Errorf("%q follows the value", rest)
	case !quoted && (scalar == "true" || scalar == "false"):
		return key, scalar == "true", nil
	case !quoted && strings.ContainsAny(scalar[:1], yamlSigns):
		return "", nil, fmt.Errorf("write the value in quotes: %q means something else in YAML", scalar)
	}
	return key, scalar, nil
}

func afterColon(rest string) (string, error) {
	after, ok := strings.CutPrefix(rest, ":")
	if !ok || after != "" && after[0] != ' ' {
		return "", fmt.Errorf("want key: value")
	}
	return strings.TrimSpace(after), nil
}

// yamlScalar takes a text off, in quotes or up to an end.
func yamlScalar(text, end string) (scalar, rest string, err error) {
	switch {
	case text == "":
		return "", "", fmt.Errorf("want key: value")
	case text[0] == '"':
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", "", fmt.Errorf("the quotes do not end")
		}
		err = json.Unmarshal([]byte(quoted), &scalar)
		return scalar, text[len(quoted):], err
	case text[0] == '\'':
		for i := 1; i < len(text); i++ {
			if text[i] != '\'' {
				continue
			}
			if i+1 < len(text) && text[i+1] == '\'' {
				i++
				continue
			}
			return strings.ReplaceAll(text[1:i], "''", "'"), text[i+1:], nil
		}
		return "", "", fmt.Errorf("the quotes do not end")
	}
	if i := strings.Index(text, end); i >= 0 {
		return strings.TrimSpace(text[:i]), text[i:], nil
	}
	return text, "", nil
}
