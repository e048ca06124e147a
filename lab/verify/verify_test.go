package verify

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/verify/check"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// A run ended with its first void round and was INVALID as a whole. It must be INVALID
// only for what is missing from all rounds.
func TestVerdictOfRounds(t *testing.T) {
	t.Parallel()
	pass := func() Round { return Round{Report: check.Report{Verdict: check.Pass}} }
	fail := func() Round { return Round{Report: check.Report{Verdict: check.Fail}} }
	void := func(lacking ...string) Round {
		return Round{Report: check.Report{Verdict: check.Invalid, Lacking: lacking}}
	}
	broken := Round{Report: check.Unfinished(history.Header{Faults: []string{"storm"}, Paths: []string{"replay"}}, errors.New("no room"))}
	for name, c := range map[string]struct {
		rounds  []Round
		verdict check.Verdict
		lacking string
	}{
		"all passed":                     {[]Round{pass(), pass()}, check.Pass, ""},
		"a void one before others":       {[]Round{void("fault pg-full"), pass()}, check.Pass, ""},
		"each lacks something else":      {[]Round{void("fault pg-full"), void("path replay")}, check.Pass, ""},
		"all lack one fault":             {[]Round{void("fault pg-full", "end"), void("path replay", "fault pg-full")}, check.Invalid, "fault pg-full"},
		"the only one is void":           {[]Round{void("end")}, check.Invalid, "end"},
		"one that broke off and another": {[]Round{broken, void("fault storm")}, check.Invalid, "fault storm"},
		"all broke off":                  {[]Round{broken, broken}, check.Invalid, "end, fault storm, path replay"},
		"a promise was broken":           {[]Round{void("end"), fail()}, check.Fail, ""},
	} {
		r := Result{Rounds: c.rounds}
		r.judge()
		if got := strings.Join(r.Lacking, ", "); r.Verdict != c.verdict || got != c.lacking {
			t.Errorf("%s: %s lacking %q, want %s lacking %q", name, r.Verdict, got, c.verdict, c.lacking)
		}
	}
}

// The end of a run says which rounds were void and which effect each fault had.
func TestResultTellsOfVoidRounds(t *testing.T) {
	t.Parallel()
	full := check.Outcome{Name: "pg-full", Tries: 3, Detail: "97 connections taken and none refused"}
	r := Result{Rounds: []Round{
		{Seed: 4711, Report: check.Report{Verdict: check.Invalid, Lacking: []string{"fault pg-full"}, Faults: []check.Outcome{full}}},
		{Seed: 4712, Report: check.Report{Verdict: check.Pass, Faults: []check.Outcome{{Name: "pg-full", Tries: 1, Fired: 1, Detail: "115 connections taken"}}}},
	}}
	r.judge()
	var out strings.Builder
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for _, want := range []string{"void: the round with seed 4711, which lacks fault pg-full", "  pg-full                1 of 2,   4  115 connections taken"} {
		if !slices.Contains(lines, want) {
			t.Errorf("the text lacks %q:\n%s", want, out.String())
		}
	}
	if !strings.Contains(out.String(), "pass  taskfeed") {
		t.Errorf("the text does not end with a pass:\n%s", out.String())
	}
}
