package feeds

import (
	"bytes"
	"encoding/json"

	"github.com/taskfeed/taskfeed/hub"
)

// In the feed of all users each event has the field user_id, which only the server sets.
// An app's own field of that name is removed: of two such fields some parsers use the
// first and some the last.

const ownerField = "user_id"

// appendOwned appends the frame as the feed of all users shows it: with the id
// of its user and without the app's own field of that name. A broadcast has no user.
func appendOwned(dst []byte, f *hub.Frame) []byte {
	dst = append(dst, withoutField(f.Bytes, ownerField)...)
	if f.UserID == "" {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"`+ownerField+`":`...)
	quoted, _ := json.Marshal(f.UserID) // a string can always be encoded
	return append(append(dst, quoted...), '}')
}

// inGroup reports whether a frame is of a feed other than the owner's own: it then has the
// field feed.
func inGroup(f *hub.Frame, owner string) bool { return f.UserID != "" && f.UserID != owner }

// withoutField returns a JSON object without its fields of this name. Fields of nested
// objects stay, and all other bytes are unchanged. Without such a field it returns the
// same object.
func withoutField(object []byte, name string) []byte {
	if !bytes.Contains(object, []byte(name)) && !bytes.Contains(object, []byte{'\\'}) { // escapes may spell the name
		return object
	}
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return object
	}
	kept, found := []byte{'{'}, false
	for dec.More() {
		from := dec.InputOffset()
		key, err := dec.Token()
		if err != nil {
			return object
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return object
		}
		if key == name {
			found = true
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(kept, bytes.TrimLeft(object[from:dec.InputOffset()], ", ")...)
	}
	if !found {
		return object
	}
	return append(kept, '}')
}
