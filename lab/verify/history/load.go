package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// History is the complete record of a run.
type History struct {
	Dir       string
	Header    Header
	Writes    []Write
	Clients   map[string][]Client // by name, in chronological order
	Truth     []Truth
	Events    []Event
	Messages  []Message
	Hooks     []Hook
	Forwards  []Forward
	Reads     []Read
	Faults    []Fault
	Resources []Resource
	Logs      map[string]string // paths of the raw logs, by name
}

// Load reads the history in a directory. It returns an error when a file cannot be
// read, or a line cannot be parsed that is not an unterminated last one.
func Load(dir string) (*History, error) {
	h := &History{Dir: dir, Clients: make(map[string][]Client), Logs: make(map[string]string)}
	b, err := os.ReadFile(filepath.Join(dir, headerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no history: there is no %s in it", dir, headerName)
	}
	if err == nil {
		err = json.Unmarshal(b, &h.Header)
	}
	if err == nil && h.Header.Format != 1 {
		err = fmt.Errorf("the history has format %d, this binary reads 1", h.Header.Format)
	}
	if err == nil {
		err = h.readAll()
	}
	if err != nil {
		return nil, fmt.Errorf("read a history: %w", err)
	}
	return h, nil
}

func (h *History) readAll() error {
	entries, err := os.ReadDir(h.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := h.read(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// read reads one file. It ignores unknown names.
func (h *History) read(name string) error {
	path := filepath.Join(h.Dir, name)
	base, isLines := strings.CutSuffix(name, ".jsonl")
	client, isClient := strings.CutPrefix(base, "client-")
	switch {
	case strings.HasSuffix(name, ".log"):
		h.Logs[name] = path
	case !isLines:
	case isClient:
		return readLines(path, func(r Client) { h.Clients[client] = append(h.Clients[client], r) })
	case strings.HasPrefix(base, "writer-"):
		return readLines(path, func(r Write) { h.Writes = append(h.Writes, r) })
	case base == "truth":
		return readLines(path, func(r Truth) { h.Truth = append(h.Truth, r) })
	case base == "log":
		return readLines(path, func(r Event) { h.Events = append(h.Events, r) })
	case base == "messages":
		return readLines(path, func(r Message) { h.Messages = append(h.Messages, r) })
	case base == "hooks":
		return readLines(path, func(r Hook) { h.Hooks = append(h.Hooks, r) })
	case base == "forwards":
		return readLines(path, func(r Forward) { h.Forwards = append(h.Forwards, r) })
	case base == "reads":
		return readLines(path, func(r Read) { h.Reads = append(h.Reads, r) })
	case base == "faults":
		return readLines(path, func(r Fault) { h.Faults = append(h.Faults, r) })
	case base == "resources":
		return readLines(path, func(r Resource) { h.Resources = append(h.Resources, r) })
	}
	return nil
}
