package bench

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// worseBy is the part by which a figure must be worse to be reported; less is noise.
const worseBy = 0.15

// CompareWith lists in Worse the figures that are clearly worse than in an earlier
// report that WriteMarkdown wrote. A document without a table of figures changes
// nothing.
func (r *Report) CompareWith(markdown io.Reader) error {
	before, err := readMarkdown(markdown)
	if err != nil {
		return fmt.Errorf("read the report before this one: %w", err)
	}
	r.Worse = nil
	for i := range r.Figures {
		f := &r.Figures[i]
		old, ok := before[f.title()]
		if !ok {
			continue
		}
		was, is := old.value, f.Value
		if f.Ratio != 0 && old.ratio != 0 {
			was, is = old.ratio, f.Ratio
		}
		if f.Lower && is > was*(1+worseBy) || !f.Lower && is < was*(1-worseBy) {
			r.Worse = append(r.Worse, fmt.Sprintf("%s: %s, was %s", f.title(), number(is), number(was)))
		}
	}
	return nil
}

type oldFigure struct{ value, ratio float64 }

// readMarkdown reads the figures of a report by their titles.
func readMarkdown(markdown io.Reader) (map[string]oldFigure, error) {
	figures := make(map[string]oldFigure)
	columns := make(map[string]int)
	lines := bufio.NewScanner(markdown)
	for lines.Scan() {
		line, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "|")
		if !ok {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i, cell := range cells {
			cells[i] = strings.TrimSpace(cell)
		}
		if cells[0] == heads[0] {
			for i, head := range cells {
				columns[head] = i
			}
			continue
		}
		cell := func(head string) string {
			if i, ok := columns[head]; ok && i < len(cells) {
				return cells[i]
			}
			return ""
		}
		value, err := strconv.ParseFloat(cell("taskfeed"), 64)
		if err != nil {
			continue // no figure
		}
		ratio, _ := strconv.ParseFloat(cell("ratio"), 64) // not every figure has one
		f := Figure{Name: cell("figure"), Baseline: cell("baseline")}
		figures[f.title()] = oldFigure{value, ratio}
	}
	return figures, lines.Err()
}
