package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/terminal"
)

// The values of --output.
const (
	outputTable  = "table"
	outputJSON   = "json"   // one array, or one object
	outputNDJSON = "ndjson" // one object on each line
)

var outputs = []string{outputTable, outputJSON, outputNDJSON}

// printer writes items of a list, page by page.
type printer struct {
	out    io.Writer
	output string
	colour bool
	count  int // items written
}

func newPrinter(in *cli.Invocation, output string) *printer {
	colour := terminal.Is(in.Stdout) && in.Env("NO_COLOR") == "" && in.Env("TERM") != "dumb"
	return &printer{out: in.Stdout, output: output, colour: colour}
}

// items writes the items as JSON, each unchanged but for blanks.
func (p *printer) items(items []json.RawMessage) error {
	var b bytes.Buffer
	for _, item := range items {
		if p.output == outputJSON {
			b.WriteString(map[bool]string{true: "[\n", false: ",\n"}[p.count == 0])
		}
		if err := json.Compact(&b, item); err != nil {
			return err
		}
		if p.output == outputNDJSON {
			b.WriteByte('\n')
		}
		p.count++
	}
	_, err := p.out.Write(b.Bytes())
	return err
}

// end completes the output of items.
func (p *printer) end() error {
	if p.output != outputJSON {
		return nil
	}
	end := "\n]\n"
	if p.count == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(p.out, end)
	return err
}

// table writes rows, the first ones with their heads. A column is as wide as its widest
// cell in these rows.
func (p *printer) table(heads []string, rows [][]string) error {
	if p.count == 0 {
		rows = append([][]string{heads}, rows...)
	}
	widths := make([]int, len(heads))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		var line strings.Builder
		for j, cell := range row {
			padding := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2)
			line.WriteString(p.paint(cell, p.count == 0 && i == 0) + padding)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	p.count += len(rows)
	_, err := io.WriteString(p.out, b.String())
	return err
}

// colours are the ANSI colours of statuses and types.
var colours = map[string]string{
	"queued": "36", "running": "34", "completed": "32", "failed": "31", "canceled": "33",
	"task_queued": "36", "task_started": "34", "task_completed": "32", "task_failed": "31", "task_canceled": "33", "task_stalled": "33",
}

// paint colours a cell if the output is a colour terminal. The colour adds no
// information to the word.
func (p *printer) paint(cell string, head bool) string {
	code := colours[cell]
	if head {
		code = "1"
	}
	if !p.colour || code == "" {
		return cell
	}
	return "\x1b[" + code + "m" + cell + "\x1b[0m"
}

// maxCell is the greatest number of characters in a cell.
const maxCell = 60

// cell formats a text for a table: on one line, and truncated.
func cell(s string, most int) string {
	runes := []rune(terminal.Printable(s))
	if len(runes) > most {
		runes = append(runes[:most-1], '…')
	}
	return string(runes)
}

func stampCell(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func durationCell(ms float64) string {
	return (time.Duration(ms * float64(time.Millisecond))).Round(time.Millisecond).String()
}

// parseMoment parses a time, or how long ago.
func parseMoment(flag, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC().Format(time.RFC3339Nano), nil
	}
	if d, err := parseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d).UTC().Format(time.RFC3339Nano), nil
	}
	return "", fmt.Errorf("--%s: must be a time such as 2026-11-22T10:00:00Z, or how long ago, such as 15m, 12h or 7d", flag)
}
