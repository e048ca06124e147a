package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// File is one actor's file. It is safe for concurrent use.
type File struct {
	mu  sync.Mutex
	f   *os.File
	err error // the first error
}

// Create creates the file of an actor, such as "client-c1.jsonl".
func Create(dir, name string) (*File, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a history: %w", err)
	}
	return &File{f: f}, nil
}

// Append writes a record to the file before it returns. Close returns the first
// error: a history with a missing record cannot be judged.
func (f *File) Append(record any) {
	line, err := json.Marshal(record)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		_, err = f.f.Write(append(line, '\n'))
	}
	if f.err == nil {
		f.err = err
	}
}

// Close closes the file and returns the first error of all.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.err, f.f.Close()); err != nil {
		return fmt.Errorf("write a history: %w", err)
	}
	return nil
}

// WriteHeader writes run.json.
func WriteHeader(dir string, h Header) error {
	b, err := json.MarshalIndent(h, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, headerName), append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write a history: %w", err)
	}
	return nil
}

const headerName = "run.json"

// maxLine is longer than any record.
const maxLine = 64 << 20

// readLines calls take with every line of a file. It ignores an unterminated last line,
// which a killed actor leaves.
func readLines[T any](path string, take func(T)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", filepath.Base(path), n, err)
		}
		var record T
		if err := json.Unmarshal(line, &record); err != nil {
			return fmt.Errorf("%s:%d: %w", filepath.Base(path), n, err)
		}
		take(record)
	}
}

func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxLine:
			return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
		}
	}
}
