package feeds

import (
	"bytes"
	"encoding/json"

	"github.com/taskfeed/taskfeed/hub"
)

// In the feed of all users each event says whose it is, in the field user_id,
// which is the server's word alone: of an app's own field of that name some readers
// would take the first and some the last.

const ownerField = "user_id"

// appendOwned appends the frame as the feed of all users shows it: with the id
// of the user whose event it is, and without a field of that name of the app's. A
// broadcast is nobody's and has none.
func appendOwned(dst []byte, f *hub.Frame) []byte {
	dst = append(dst, withoutField(f.Bytes, ownerField)...)
	if f.UserID == "" {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"`+ownerField+`":`...)
	quoted, _ := json.Marshal(f.UserID) // a string can always be
	return append(append(dst, quoted...), '}')
}

// withoutField returns a JSON object without the fields of this name of its own. Those
// of objects within it stay, and all else as it was written; without such a field it
// is the same object.
func withoutField(object []byte, name string) []byte {
	if !bytes.Contains(object, []byte(name)) && !bytes.Contains(object, []byte{'\\'}) { // the one may be written by the other
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
