package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed"
)

// Config says which feed to read and how. URL, UserID and Token are required;
// zero means the default everywhere else.
type Config struct {
	// URL is the server's base URL: http, https, ws or wss, without user
	// information, query or fragment. A path prefix is kept.
	URL string

	// UserID names the user whose feed this is.
	UserID string

	// Token returns the token to connect with. See [TokenFunc] and [StaticToken].
	Token TokenFunc

	// After is where the feed begins when CursorStore holds no cursor: nil for
	// live events only, a cursor for everything after it, zero for all that the
	// log keeps.
	After *taskfeed.Cursor

	// CursorStore keeps the cursor between runs. The default is memory: a new process
	// begins at After again.
	CursorStore CursorStore

	// Types and TaskID narrow the feed to events of these types and of one task. If the
	// server cannot filter, the client does. Empty means all.
	Types  []taskfeed.Type
	TaskID string

	// Feeds narrows the feed to that of the user, by their id, or to those of groups that
	// the token lists. An event of a group has its id as UserID. Empty means all of them.
	Feeds []string

	// Unread asks the server to count the user's unread events in feed_live, for OnFrame.
	// It cannot stand beside TaskID.
	Unread bool

	// ProgressInterval is the least time between two events task_progress of one task; of
	// those that come faster only the last counts. Events of other types are not delayed.
	// From 50 ms to a minute; 0 means all.
	ProgressInterval time.Duration

	// Compact leaves out of a replay what no longer matters of tasks: each comes with its
	// last state and the last progress after it. Everything that is no task's comes.
	Compact bool

	// Client is a name under which the server keeps a cursor too: it moves it to what has
	// arrived, shows admins when that was, and begins there where the feed has no cursor
	// of its own. Feeds that must each miss nothing have different names.
	Client string

	// Backoff spaces the attempts to connect.
	Backoff Backoff

	// PeerTimeout is how long the server may be silent before the connection counts as
	// dead. After three quarters of it the client sends a ping. It must exceed the
	// server's ping period of 25 s. Default 35 s.
	PeerTimeout time.Duration

	// OnReset is called when events were missed for good. It reads the tasks again,
	// before the feed goes on from cursor. An error ends Run and does not move the
	// cursor. Without OnReset, Run moves the cursor and ends with ErrReset, so that the
	// gap is noticed.
	OnReset func(ctx context.Context, reason taskfeed.ResetReason, cursor taskfeed.Cursor) error

	// OnState is called for each change of state. OnFrame is called for each frame that
	// the feed accepts, before the handler or OnReset: events that pass the client rule,
	// feed_live, feed_reset, feed_read and feed_read_refused. raw is the unchanged frame, valid during the call. Both
	// run in Run's goroutine and should not block.
	OnState func(StateChange)
	OnFrame func(frame taskfeed.Frame, raw []byte)

	// NetDial replaces the dialer, and with it the proxy of the environment
	// (HTTPS_PROXY and the like). TLS is for https and wss.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	TLS     *tls.Config

	// Logger gets a line for each lost connection. The default logs nothing.
	Logger *slog.Logger
}

// Backoff spaces attempts: the nth wait is random between zero and Min·2ⁿ, at most Max. A
// connection that lasted 5 s resets n.
type Backoff struct {
	Min  time.Duration  // default 500 ms
	Max  time.Duration  // default 30 s
	Rand func() float64 // from 0 to 1, without 1; default math/rand/v2.Float64
}

func (c Config) withDefaults() Config {
	if c.CursorStore == nil {
		c.CursorStore = new(memoryCursor)
	}
	if c.Backoff.Min == 0 {
		c.Backoff.Min = 500 * time.Millisecond
	}
	if c.Backoff.Max == 0 {
		c.Backoff.Max = max(30*time.Second, c.Backoff.Min)
	}
	if c.Backoff.Rand == nil {
		c.Backoff.Rand = rand.Float64
	}
	if c.PeerTimeout == 0 {
		c.PeerTimeout = 35 * time.Second
	}
	if c.OnState == nil {
		c.OnState = func(StateChange) {}
	}
	if c.OnFrame == nil {
		c.OnFrame = func(taskfeed.Frame, []byte) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate names every field that is wrong.
func (c *Config) validate() error {
	var errs []error
	refuse := func(wrong bool, field, why string) {
		if wrong {
			errs = append(errs, fmt.Errorf("client: %s %s", field, why))
		}
	}
	refuse(c.UserID == "", "UserID", "is missing")
	refuse(c.Token == nil, "Token", "is missing; StaticToken makes one from a string")
	refuse(c.After != nil && !inRange(*c.After), "After", "is not an event's id")
	refuse(c.Backoff.Min < 0, "Backoff.Min", "is negative")
	refuse(c.Backoff.Max < c.Backoff.Min, "Backoff.Max", "is less than Backoff.Min")
	refuse(c.PeerTimeout < 0, "PeerTimeout", "is negative")
	refuse(c.Client != "" && !taskfeed.ValidClientName(c.Client), "Client", "is no name: a letter or digit, then letters, digits and _ . : -, 64 at most")
	refuse(c.Unread && c.TaskID != "", "Unread", "cannot stand beside TaskID")
	refuse(c.ProgressInterval != 0 && (c.ProgressInterval < 50*time.Millisecond || c.ProgressInterval > time.Minute), "ProgressInterval", "is not between 50 ms and a minute")
	for _, t := range c.Types {
		refuse(!t.Valid(), "Types", "has one that no event can have")
	}
	for _, id := range c.Feeds {
		refuse(!taskfeed.ValidID(id), "Feeds", "has one that is no id")
	}
	return errors.Join(errs...)
}

// endpoint returns the URL of the user's feed, without the cursor. Its errors do not
// show the URL, which may have a password.
func (c *Config) endpoint() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("client: URL must be like https://feed.example.com/prefix")
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "ws"
	case "https", "wss":
		u.Scheme = "wss"
	default:
		return nil, errors.New("client: URL must begin with http, https, ws or wss")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("client: URL must have no user information, query or fragment; tokens come from Token")
	}
	prefix, rawPrefix := strings.TrimRight(u.Path, "/"), strings.TrimRight(u.EscapedPath(), "/")
	u.Path, u.RawPath = prefix+"/ws/"+c.UserID, rawPrefix+"/ws/"+url.PathEscape(c.UserID)
	query := url.Values{}
	if len(c.Types) > 0 {
		names := make([]string, len(c.Types))
		for i, t := range c.Types {
			names[i] = string(t)
		}
		query.Set("types", strings.Join(names, ","))
	}
	if c.TaskID != "" {
		query.Set("task_id", c.TaskID)
	}
	if c.Unread {
		query.Set("unread", "true")
	}
	if len(c.Feeds) > 0 {
		query["feed"] = c.Feeds
	}
	if c.ProgressInterval > 0 {
		query.Set("progress_interval", c.ProgressInterval.String())
	}
	if c.Compact {
		query.Set("compact", "true")
	}
	if c.Client != "" {
		query.Set("client", c.Client)
	}
	u.RawQuery = query.Encode()
	return u, nil
}

func inRange(c taskfeed.Cursor) bool { return 0 <= c && c <= taskfeed.MaxID }
