package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/internal/planted"
	"github.com/taskfeed/taskfeed/lab/verify/check"
)

// PlantedBug says how verify catches a mistake: by which property, and under
// which faults at the least.
type PlantedBug struct {
	Bug      planted.Bug
	Says     string
	Property string
	Faults   []string
}

// Command is what shows that the bug is caught.
func (b PlantedBug) Command() string { return "taskfeed-planted verify --planted " + string(b.Bug) }

// PlantedBugs lists every mistake that can be planted.
var PlantedBugs = []PlantedBug{
	{planted.DropOne, "one of some fan-outs does not take place", "P2", []string{"storm"}},
	{planted.AtCursor, "a feed goes on at its cursor, not after it: `>=` for `>`", "P3", []string{"storm"}},
	{planted.ReplayFirst, "the log is read before the subscriber is registered", "P2", []string{"storm"}},
	{planted.HubKeyCut, "the hub knows users by the first bytes of their ids", "P6", []string{"storm"}},
	{planted.DropOldest, "frames that were shed are not asked of the log again", "P2", []string{"client-stall"}},
	{planted.SilentTrim, "what has expired is skipped without a `feed_reset`", "P2", []string{"retention"}},
	{planted.HastyReset, "a `feed_reset` that nothing justifies", "P8", []string{"storm"}},
	{planted.DoubledFrame, "the last frame of a replayed page comes twice", "P3", []string{"storm"}},
	{planted.LiveOvertakes, "the last frame of a replayed page comes first", "P4", []string{"storm"}},
	{planted.SharedBuffer, "frames are encoded into memory of earlier ones", "P7", []string{"storm"}},
	{planted.EarlyBookmark, "`feed_live` names a cursor that has not been reached", "P10", []string{"storm"}},
	{planted.EarlyComment, "a stream's comment names an event that is yet to be written", "P10", []string{"storm"}},
	{planted.PlainCursor, "changes are read by a plain cursor, which passes over late commits", "P2", []string{"long-transaction"}},
	{planted.XidOrder, "a batch is numbered in the order of transaction ids", "P5", []string{"events-lock"}},
	{planted.AsyncMove, "the move does not wait for the disk", "P1", []string{"pg-async"}},
	{planted.IDsReused, "ids do not jump when the database is another one", "P9", []string{"failover"}},
	{planted.NoFinalLook, "the sequencer sleeps without a look after arming", "P11", []string{"doorbell"}},
	{planted.DeadFirst, "a leader reads all that is dead before it serves", "P11", []string{"old-snapshot"}},
	{planted.NoCatchUp, "a new session does not read what it has missed", "P2", []string{"db-blackhole"}},
	{planted.AdminView, "users are shown what admins are", "P6", []string{"storm"}},
	{planted.TokenInLog, "the access log has URLs as they came", "P6", []string{"storm"}},
	{planted.LeakedHelper, "every connection leaves a goroutine behind", "P12", []string{"storm"}},
	{planted.NoGoodbye, "a server that is stopped cuts its connections", "P13", []string{"term-follower"}},
	{planted.BlockingLog, "whoever logs waits for whoever reads the log", "P13", []string{"log-blocked"}},
}

// ErrNotPlanted is why a build cannot make mistakes.
var ErrNotPlanted = errors.New("this build makes no mistakes on purpose: build one with go build -tags planted")

// ErrNoSuchBug is why a name leads nowhere.
var ErrNoSuchBug = errors.New("there is no such planted bug; docs/PROMISES.md lists them")

// RunPlanted has the servers make one mistake after the other, those of the names
// or "all", in a round of its own each, and prints a line for each. The error says
// why one could not be run, or which were not caught.
func RunPlanted(ctx context.Context, cfg Config, names []string, out io.Writer) error {
	if !planted.Built {
		return ErrNotPlanted
	}
	chosen, err := chooseBugs(names)
	if err != nil {
		return err
	}
	var missed []string
	for _, b := range chosen {
		began := time.Now()
		round, err := runPlanted(ctx, cfg, b)
		if err != nil {
			return fmt.Errorf("%s: %w", b.Bug, err)
		}
		mark, broken := "caught", round.broken()
		if !slices.Contains(broken, b.Property) {
			mark, missed = "MISSED", append(missed, string(b.Bug))
		}
		fmt.Fprintf(out, "%s  %-14s  want %-3s  broken %-18s  %v, seed %d %s\n", mark, b.Bug, b.Property, strings.Join(broken, " "), time.Since(began).Round(time.Second), round.Seed, round.Dir)
	}
	if len(missed) > 0 {
		return fmt.Errorf("not caught: %s", strings.Join(missed, ", "))
	}
	return nil
}

func chooseBugs(names []string) ([]PlantedBug, error) {
	if slices.Equal(names, []string{"all"}) {
		return PlantedBugs, nil
	}
	var chosen []PlantedBug
	for _, name := range names {
		i := slices.IndexFunc(PlantedBugs, func(b PlantedBug) bool { return string(b.Bug) == name })
		if i < 0 {
			return nil, fmt.Errorf("%q: %w", name, ErrNoSuchBug)
		}
		chosen = append(chosen, PlantedBugs[i])
	}
	return chosen, nil
}

// runPlanted plants one bug. The history is kept when the property that should
// be broken is not, or when the caller wants it.
func runPlanted(ctx context.Context, cfg Config, b PlantedBug) (*Round, error) {
	cfg.Bug, cfg.Faults, cfg.Rounds, cfg.Duration = b.Bug, b.Faults, 1, -time.Second
	if cfg.Keep != "" {
		cfg.Keep = filepath.Join(cfg.Keep, string(b.Bug))
	}
	result, err := Run(ctx, cfg)
	if err != nil {
		return nil, err
	}
	round := &result.Rounds[0]
	if cfg.Keep == "" && round.Dir != "" && slices.Contains(round.broken(), b.Property) {
		err, round.Dir = os.RemoveAll(round.Dir), ""
	}
	return round, err
}

// broken lists the properties that a round found broken.
func (r *Round) broken() []string {
	var names []string
	for _, p := range check.Properties {
		if r.Counts[p.Name] > 0 {
			names = append(names, p.Name)
		}
	}
	return names
}
