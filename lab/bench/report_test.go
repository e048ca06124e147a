package bench

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	t.Run("the ratio is the median of the rounds' ratios", func(t *testing.T) {
		t.Parallel()
		// The medians' ratio would be 30/20.
		f := compare("f", "ms", []float64{30, 10, 40}).beside("b", []float64{10, 20, 40})
		if f.Value != 30 || f.Base != 20 || f.Ratio != 1 || f.Low != 0.5 || f.High != 3 {
			t.Errorf("got %+v, want value 30, base 20, ratio 1 between 0.5 and 3", f)
		}
	})
	t.Run("an even number of rounds", func(t *testing.T) {
		t.Parallel()
		if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
			t.Errorf("median: got %v, want 2.5", got)
		}
	})
	t.Run("a baseline of one round", func(t *testing.T) {
		t.Parallel()
		if f := compare("f", "ms", []float64{2, 4, 6}).beside("b", []float64{2}); f.Ratio != 2 {
			t.Errorf("ratio: got %v, want 2", f.Ratio)
		}
	})
	t.Run("a baseline of nothing", func(t *testing.T) {
		t.Parallel()
		if f := compare("f", "ms", []float64{2}).beside("b", []float64{0}); f.Ratio != 0 {
			t.Errorf("ratio: got %v, want none", f.Ratio)
		}
	})
}

func TestGoals(t *testing.T) {
	t.Parallel()
	f := Figure{Value: 8, Ratio: 0.65}
	cases := map[string]struct {
		goal goal
		want bool
	}{
		"value at the upper bound":     {atMost(8), true},
		"value above it":               {atMost(7.9), false},
		"value at the lower bound":     {atLeast(8), true},
		"value below it":               {atLeast(8.1), false},
		"ratio at the lower bound":     {ratioAtLeast(0.65), true},
		"ratio below it":               {ratioAtLeast(0.66), false},
		"ratio at the upper bound":     {ratioAtMost(0.65), true},
		"ratio above it":               {ratioAtMost(0.6), false},
		"value zero where none may be": {atMost(0), false},
	}
	for name, c := range cases {
		if got := f.judge(c.goal); got.Reached == nil || *got.Reached != c.want {
			t.Errorf("%s: got %v, want %v", name, got.Reached, c.want)
		}
	}
	unmeasured := Figure{}
	if got := unmeasured.judge(ratioAtMost(1)); *got.Reached {
		t.Error("a ratio that was not measured reaches its goal, want not")
	}
}

// sample has a figure of each sort.
func sample() Report {
	return Report{At: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Version: "1.2.3", Command: "taskfeed-lab bench", Notes: []string{"a note"}, Figures: []Figure{
		compare("rate", "updates/s", []float64{60}).beside("no trigger", []float64{100}).judge(ratioAtLeast(0.65)),
		compare("rate", "updates/s", []float64{60}).beside("plain NOTIFY", []float64{20}).judge(ratioAtLeast(3)),
		compare("time", "ms", []float64{90}).lower().beside("bare", []float64{30}),
		compare("memory", "KB", []float64{7.5}).lower().judge(atMost(8)),
	}}
}

func TestWriteReport(t *testing.T) {
	t.Parallel()
	report := sample()
	var table, markdown bytes.Buffer
	if err := report.WriteTable(&table); err != nil {
		t.Fatalf("write the table: %v", err)
	}
	if err := report.WriteMarkdown(&markdown); err != nil {
		t.Fatalf("write Markdown: %v", err)
	}
	missed := "rate / no trigger: 0.60 (60.00 beside 100 updates/s), goal ratio ≥ 0.65"
	if got := report.missed(); !slices.Equal(got, []string{missed}) {
		t.Errorf("missed: got %q, want %q", got, missed)
	}
	for name, text := range map[string]string{"table": table.String(), "Markdown": markdown.String()} {
		for _, want := range []string{missed, "a note", "**no**", "yes", "memory", "7.50"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: got no %q in\n%s", name, want, text)
			}
		}
	}
	if want := "| rate | updates/s | plain NOTIFY | 20.00 | 60.00 | 3.00 |  | ratio ≥ 3 | yes |\n"; !strings.Contains(markdown.String(), want) {
		t.Errorf("Markdown: got no row %q in\n%s", want, markdown.String())
	}
	var again Report
	if text, err := json.Marshal(report); err != nil || json.Unmarshal(text, &again) != nil || len(again.Figures) != len(report.Figures) {
		t.Errorf("JSON: got %s (%v), want it to be read again", text, err)
	}
}

func TestCompareWith(t *testing.T) {
	t.Parallel()
	before := sample()
	var markdown bytes.Buffer
	if err := before.WriteMarkdown(&markdown); err != nil {
		t.Fatalf("write Markdown: %v", err)
	}
	cases := map[string]struct {
		change func(*Report)
		want   []string
	}{
		"nothing changed":            {func(*Report) {}, nil},
		"a little worse":             {func(r *Report) { r.Figures[0].Ratio = 0.55 }, nil},
		"a lower rate":               {func(r *Report) { r.Figures[0].Ratio = 0.5 }, []string{"rate / no trigger: 0.50, was 0.60"}},
		"a higher rate":              {func(r *Report) { r.Figures[1].Ratio = 9 }, nil},
		"a longer time":              {func(r *Report) { r.Figures[2].Ratio = 4 }, []string{"time / bare: 4.00, was 3.00"}},
		"more memory, without ratio": {func(r *Report) { r.Figures[3].Value = 9 }, []string{"memory: 9.00, was 7.50"}},
		"less memory":                {func(r *Report) { r.Figures[3].Value = 1 }, nil},
		"a figure that is new":       {func(r *Report) { r.Figures[3].Name, r.Figures[3].Value = "new", 99 }, nil},
	}
	for name, c := range cases {
		now := sample()
		c.change(&now)
		if err := now.CompareWith(bytes.NewReader(markdown.Bytes())); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(now.Worse, c.want) {
			t.Errorf("%s: got %q, want %q", name, now.Worse, c.want)
		}
	}
	now := sample()
	if err := now.CompareWith(strings.NewReader("# Something else\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")); err != nil || now.Worse != nil {
		t.Errorf("a document without figures: got %q and %v, want nothing", now.Worse, err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	cfg, err := Config{Full: true}.withDefaults()
	if err != nil {
		t.Fatalf("default configuration: %v", err)
	}
	if got, want := cfg.Logs, []int{10_000, 1_000_000, fullLog}; !slices.Equal(got, want) {
		t.Errorf("logs of a full run: got %v, want %v", got, want)
	}
	for name, bad := range map[string]Config{
		"an unknown measurement": {Only: []string{"nothing"}},
		"a negative step":        {Sizes: Sizes{Step: -time.Second}},
		"negative rounds":        {Sizes: Sizes{Rounds: -1}},
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%s: got no error, want one", name)
		}
	}
}
