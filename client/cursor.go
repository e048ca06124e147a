package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/taskfeed/taskfeed"
)

// CursorStore keeps one feed's cursor. A feed calls it from one goroutine at a
// time. An error ends Run.
type CursorStore interface {
	// Load returns the cursor saved last, and false when there is none yet.
	Load(ctx context.Context) (taskfeed.Cursor, bool, error)
	// Save saves the cursor. It is called after the handler of the event with that ID
	// has returned, and at the end of a replay. The context is not cancelled with Run's,
	// so that a handled event is saved.
	Save(ctx context.Context, cursor taskfeed.Cursor) error
}

// memoryCursor is the default store.
type memoryCursor struct {
	mu     sync.Mutex
	cursor taskfeed.Cursor
	known  bool
}

func (m *memoryCursor) Load(context.Context) (taskfeed.Cursor, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursor, m.known, nil
}

func (m *memoryCursor) Save(_ context.Context, cursor taskfeed.Cursor) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursor, m.known = cursor, true
	return nil
}

// FileCursor keeps the cursor in a file, for one feed in one process. The first Save
// creates the file with mode 0600; its directory must exist. The cursor survives the end
// of the process. After a power cut it may be an older one, so that some events come
// again.
func FileCursor(path string) CursorStore { return fileCursor(path) }

type fileCursor string

// cursorFileSize is 16 digits, as many as MaxID has, and a line feed. The size
// never changes, so that one write replaces the old cursor as a whole.
const cursorFileSize = 17

func (path fileCursor) Load(context.Context) (taskfeed.Cursor, bool, error) {
	f, err := os.Open(string(path))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, cursorFileSize+1))
	if err != nil || len(text) == 0 {
		return 0, false, err
	}
	cursor, err := taskfeed.ParseCursor(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return 0, false, fmt.Errorf("%s is not a cursor file, delete it to start over: %w", string(path), err)
	}
	return cursor, true, nil
}

func (path fileCursor) Save(_ context.Context, cursor taskfeed.Cursor) error {
	f, err := os.OpenFile(string(path), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%016d\n", cursor), 0)
	return errors.Join(err, f.Close())
}
